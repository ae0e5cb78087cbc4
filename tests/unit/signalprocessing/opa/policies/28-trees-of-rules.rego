package signalprocessing

import rego.v1

l1.team contains "x" if input.namespace.labels.team
l1.fixed := "y" if input.namespace.labels.tier

l2.team := input.namespace.labels.team
l2.b.c := input.namespace.labels.tier

l3.team contains "x" if input.namespace.labels.team
l3[k] contains v if some k, v in input.namespace.labels

l4.a[k] := v if some k, v in input.namespace.labels
l4.b contains "q" if input.namespace.labels.tier

l5[k] contains v if some k, v in input.namespace.labels

l6[k].x contains v if some k, v in input.namespace.labels

l7[k][v] := 1 if some k, v in input.namespace.labels

l8.a.b.c contains 1 if input.namespace.labels.tier
l8.a.d := 1

l9.a.b.c contains 1 if input.namespace.labels.tier

l10[k].y := v if some k, v in input.namespace.labels
l10.z := 1 if input.namespace.labels.tier

u1 := l1.team
u2 := l3.team
u3 := l9.a.b
u4 if not l1.fixed
u5 if not l1.team
u6 := count(l1)
u7 := l9
u8 := [k | some k, _ in l3]
u9 := l3.tier
u10 := object.get(l3, "team", "none")
u11 := l4.b
u12 := l4.a
u13 := l10
u14 := l7.team
u15 := l2

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"

default priority := {"priority": "P3", "policy_name": "constant"}
