package signalprocessing
import rego.v1

# shadowing, closures, scoping
s1 := [x | x := [y | y := [1, 2][_]][_]]
s2 := x if { x := [x2 | some x2 in [1, 2]] }
s3 := [[x, y] | some x in [1, 2]; some y in [x, x + 1]]
s4 := {x: [y | some y in [1, 2, 3]; y > x] | some x in [1, 2]}
s5 := r if { x := 2; r := [y | some y in [1, 2, 3]; y > x] }
s6 := r if { some x in [1, 2]; r := [y | some y in [1, 2, 3]; y > x]; count(r) == 1 }
s7 := [a | some a in [1, 2]; some a2 in [a]; a2 == a]
s8(a) := [b | some b in a]
s9 := s8([1, 2])
s10 := x if { x := s9[_]; x == 2 }
s11 := [i | some i; [5, 6, 7][i] > 5]
s12 := count([1 | some i, j; [1, 2][i] == [2, 1][j]])
s13 if { some x in [1, 2]; every y in [3, 4] { y > x } }
s14 if { every x in [1, 2] { some y in [2, 3]; y > x } }
s15 if { every x in [1, 2] { not x == 3 } }
s16 := { x | x := 1 } == {1}
s17 := [x | [x, _] := [1, 2]]
s18 := [a | [[a, b], c] := [[1, 2], 3]; b < c]
s19 := x if { [x] := [input.nope] }
s22 := y if { y = z; z = 4 }
s26 if { x := 1; not x == 2; not s27 }
s27 if false
s28 := x if { x := input.signal; x.name == "X" }
s30 := v if { some k; v := {"a": 1}[k]; k == "a" }
s31 := v if { v := {"a": {"b": 2}}.a.b }
s32 := v if { v := [1, 2, 3][1] }
s33 := v if { v := {"x", "y"}["x"] }
input_name := input.signal.name
s34 := input_name
s35 := data.signalprocessing.input_name
s37 := [x | x := data.signalprocessing.s1[_]]
s39 := x if { a := {"p": [1, 2]}; x := a.p[_]; x > 1 }
s40 := x if { some x in numbers.range(1, 3); x % 3 == 0 }
s41 := array.concat([x | some x in [1]], [x | some x in [2]])
s42 := object.union({"a": {"b": 1}}, {"a": {"c": 2}})
s43 := count(input.list) if input.list
s44 := 3 in [1, 2, 3]
s45 := [x | some x in [1, 2, 3]; x in {2, 3}]
s46 := "a" in {"b": "a"}
s47 := ("b", "a" in {"b": "a"})

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"

default priority := {"priority": "P3", "policy_name": "constant"}
