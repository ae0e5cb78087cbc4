package signalprocessing

import rego.v1
import data.signalprocessing.tables as tabs
import input.signal.labels as lbl

tables := {"prod": {"critical": "P0", "high": "P1"}, "日本": {"critical": "P2"}}

a1 := tabs.prod.critical
a2 := tabs["日本"].critical
a3 := lbl["every"]
a4 := input.signal.labels.in
a5 := input.signal.labels.not
a6 := contains(input.signal.name, "if")
a7 := {"if": 1, "every": 2}.every
a8[k] := v if { # comment with } and {
	some k, v in lbl # another "
	v != "" # ;
}
a9 contains k if { some k, _ in lbl }
a10[k] := [v | some v in [lbl[k]]] if some k in ["a", "value", "n"]
a11[k] := [lbl[k]] if some k in ["a", "value", "n"]
a12[k] := {"v": lbl[k], "n": count(lbl)} if { some k in ["a", "value", "n"] }
a13[sprintf("x-%s", [k])] := lbl[k] if some k in ["a", "value", "n"]
a14[upper(k)] contains lower(lbl[k]) if some k in ["a", "value", "n"]
a15 := {
	"team": object.get(input, ["namespace", "labels", "team"], "none"), # team
	"zone": lbl.region,
} if {
	input.namespace
}
a16 := {
	"team": lbl.nope,
} if {
	input.namespace
} else := {
	"fallback": input.namespace.name, # why
} if {
	input.namespace.name
} else := "none"
a17 := x if { x := lbl.value } else := y if { y := lbl.a } else := "z"
a18(x) := lbl[x] if x != "a" else := "A"
a19 := [a18(k) | some k in ["a", "value", "n", "zz"]]
a20 := [to_number(v) | some v in lbl]
a21 := {k: to_number(v) | some k, v in lbl}
a22[k] := to_number(v) if some k, v in lbl
a23 contains to_number(v) if some v in lbl
a24 := max([to_number(v) | some k, v in lbl; k in {"value", "n"}])
a25[team] contains sig if {
	team := object.get(input.namespace.labels, "team", "none")
	some sig in [input.signal.name, lbl.a]
}
a26.x.y contains 1 if lbl.a
a26.x.z := lbl.value
a26.w[k] := 1 if some k in ["q", lbl.a]
a27 := count(a26.x.y)
a28 if a26.x
a29 := a9 | {"z"}
a30 := a9 - {"a"}
a31 := a9 & {"a", "value"}
a32 := object.union(a8, {"extra": 1})
a33 := [k | some k, _ in a11]
a34 if { every v in a11 { count(v) == 1 } }
a35 := {v | some [v] in [[1], [2], [1, 2], "x"]}
a36 := [i | some i, [v, _] in [[1], [2, 3], [1, 2], "x"]]
a37 := lbl.value != "12"
a38 := not_prod
not_prod if not startswith(input.namespace.name, "prod")
default a39 := {"a": [1, {"b": null}]}
a39 := x if { x := lbl.nope }
a40 := {k | some k, v in lbl; v == "1e3"} == {"value"}
a41 := [1, 2, 3][count(lbl)]
a42 := "a" == lbl.a
a43 := lbl == {}
a44 := [] == [x | some x in lbl]
a45 := json.unmarshal(input.workload.annotations.hints)["a"][1]
a46 := json.unmarshal(input.workload.annotations.hints).priority
a47 := split(input.namespace.name, "-")[0]
a48 := split(input.namespace.name, "-")[1]
a49[i] := p if some i, p in split(input.namespace.name, "-")
a50 := {"a": 1}["a"] + count(lbl)

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"

default priority := {"priority": "P3", "policy_name": "constant"}
