package signalprocessing

import rego.v1

rank(s) := 3 if { s == "critical" } else := 2 if { s in ["high", "sev2"] } else := 1 if { is_string(s); s != "" } else := 0
r1 := rank(input.signal.severity)
g(x, y) := x if x > y
else := y
r2 := g(count(input.namespace.labels), 2)
lookup(t, k) := t[k]
lookup(t, k) := "def" if not t[k]
r3 := lookup(input.namespace.labels, "tier")
r4 := lookup(input.namespace.labels, "z")
h("a") := 1
h("b") := 2
default kk(_) := "dflt"
kk(x) := "yes" if x.a
r6 := kk(input.nested)
r7 := kk(input.missing)
r8 := kk("str")
fact(n) := numbers.range(1, n)
r9 := product(fact(5))
c1 := "x" if input.signal.name
c1 := "x" if input.namespace.name
conf := "a" if input.namespace.name == "shop"
conf := "b" if input.signal.severity == "critical"
pc[k] := v if some k, v in {"a": 1}
pc[k] := v if { some k, v in {"a": 2}; input.namespace.name == "shop" }
oc := {k: v | some k in ["a", "b"]; some v in input.dup}
fc(x) := 1 if x != ""
fc(x) := 2 if startswith(x, "kube")
rfc := fc(input.namespace.name)
r5 := [h(z) | some z in ["a", "b", "c"]]
ff(x) := false if x
r10 := ff(true)
r11 if ff(true)
r12 if not ff(true)
r13 := input.detectedLabels.pdbProtected
r14 := x if x := input.detectedLabels.pdbProtected
r15 := "set" if input.detectedLabels.pdbProtected == false
r16 if { input.detectedLabels.pdbProtected == false }
r17 contains x if some x in [false, null, 0, ""]
r18 := [x | some x in [false, null, 0, ""]; x]
r19 := [x | x := [false, null, 0, ""][_]]
r20 := null
r21 if null
r22 if r20 == null
r23 := y if { y := r20 }
r24 := 1 if {0}
r25 if ""

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"

default priority := {"priority": "P3", "policy_name": "constant"}
