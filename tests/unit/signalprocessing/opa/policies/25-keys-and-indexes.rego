package signalprocessing

import rego.v1

a.b.c := 1
a.b.d := input.signal.name
a[x].e := 1 if some x in ["q", "r"]
m[x][y] := z if { some x, o in input.namespace; is_object(o); some y, z in o }
n contains [k, v] if some k, v in input.signal.labels
pv[i] := v if some i, v in input.list
cnt := count(input.signal.labels)
idx := input.list[-1]
idx2 := input.list[0]
idx3 := input.list["0"]
idx4 := input.list[1]
idx5 := input.list[to_number("1")]
idx6 := input.list[count("ab")]
idx7 := [input.list[i] | some i in [0, 1, 2, 10]]
keys := {k: 1 | some k in [1, "1", true, null, [1]]}
k2 := object.keys(keys)
k3 := [k | some k, _ in keys]
intkeys := {1: "a", 2: "b"}
fl := {1.5: "a"}
fl2 := {input.ratio: 1}
w := input.whole
w2 := {input.whole, 2}
w3 := input.whole == 2
w4 := {input.whole: "x"}[2]
w5 := input.exp + 1
w8 := format_int(input.exp, 10)
w9 := concat(",", [format_int(x, 10) | some x in [input.whole, input.neg, input.ratio]])
sets := {1, 2} | {3}
s2 := {x | some x in input.list}
s3 := sort(input.list)
s4 := {x | some x in input.dup} - {"a"}
s5 := count({x | some x in input.dup})
s6 := {[x] | some x in input.dup}
cmp1 := [b | some x in [1, "a", null, true, [1]]; some y in [1, "a", null, true, [1]]; b := x < y]
mm := max(input.list)
mi := min(input.list)

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"

default priority := {"priority": "P3", "policy_name": "constant"}
