package signalprocessing

import rego.v1

# chains of else
e1 := "a" if { input.signal.severity == "critical"; input.namespace.name == "zzz" }
else := "b" if { input.signal.severity == "critical" }
else := "c" if input.namespace.name
else := "d"
e2 if { input.nope } else if { input.namespace.labels.tier }
e3 := x if { x := input.namespace.labels.tier } else := y if { y := input.namespace.labels.team } else := "none"
e4(x) := "big" if { x > 10 } else := "mid" if { x > 5 } else := "small"
e5 := [e4(x) | some x in [1, 6, 11]]
e6(x) := y if { y := {"a": 1}[x] } else := z if { z := {"b": 2}[x] } else := null
e7 := [e6(x) | some x in ["a", "b", "c"]]
default e8 := "def"
e8 := "v" if input.nope
default e9(_) := "def"
e9(x) := x if x > 1
e10 := [e9(x) | some x in [0, 1, 2]]
e11 := e9("a")
e12 := e9(input.nope)
e13 := false if { input.namespace } else := true
e14 := "x" if e13 else := "y"
e15 if { e13 == false }
e16 := v if { some v in input.dup; v == "b" } else := "none"
e17 := v if { v := [x | some x in input.list; is_string(x)]; count(v) > 0 } else := []
e18 := "multi" if { x := 1
	y := 2
	x < y
}
e19 := {
	"a": 1, # comment
	"b": [ # more
		1,
		2,
	],
}
e20 := concat(
	"-",
	[
		"a",
		"b", # trailing
	],
)
e21 := 1 + 2 * 3
e22 := (1 + 2) * 3
e23 := 10 - 3 - 2
e24 := 100 / 10 / 2
e25 := 2 + 3 == 5
e26 := 1 < 2
e27 if 1 < 2
e28 := 1 + count(input.dup) * 2 - 1
e29 := {1, 2} | {3} & {3, 4}
e30 := 7 - 2 * 3 + 1
e31 := 1 == 1
e32 := "a" == "a" 
e33 := [1 < 2, 2 < 1]
e34 if { x := 1; x == 1; y := x + 1; y == 2 }
e35 := x if { some x in [1, 2, 3]; x > 2 }
e36 contains x if { some x in [1, 2, 3]; x > 1 }
e37[x] := y if { some x, y in {"a": 1, "b": 2}; y > 1 }
e38[x] if { some x in ["q"] }
e39 contains {"name": o.name, "n": i} if some i, o in input.workload.ownerChain
e40 := { "x": y | some y in [1] }
e41 := {k: v | some k, v in input.namespace.labels; startswith(k, "t")}
e42 := [x | some x in {3, 1, 2}]
e43 := [x | some x in input.namespace.labels]
e44 := [k | some k, _ in input.namespace.labels]
e45 := sum([1, 2.5])
e46 := [sprintf("%s=%s", [k, v]) | some k, v in input.namespace.labels]
e47 := concat(",", [sprintf("%s=%s", [k, v]) | some k, v in input.namespace.labels])
e48 := concat(",", sort([lower(v) | some v in input.namespace.labels]))
e49 := {v | some v in input.namespace.labels} == {v | some k, v in input.namespace.labels}
e50 := input.namespace.labels == {"team": "a", "tier": "silver", "Team": "A"}

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"

default priority := {"priority": "P3", "policy_name": "constant"}
