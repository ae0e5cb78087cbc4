package signalprocessing

import rego.v1

n := input.nope
b1 := 2 in {n}
b2 := 2 in [n]
b3 := n in [1]
b4 := 2 in n
b5 := "k", 2 in {"k": n}
b6 := [n] == [1]
b7 := {n} == {1}
b8 := {"a": n} == {"a": 1}
b9 := n == 1
b10 := n != 1
b11 := 1 < n
b12 := [2 in [n]]
b13 := {"x": 2 in [n]}
b14 := count([n])
b15 := [x | x := 2 in [n]]
b16 := n["a"]
b17 := {"a": 1}[n]
b18 := [1, 2][n]
b19 := f(n)
f(x) := 1
b20 := f([n])
b21 := f({"a": [n]})
b22 := {"a": {n: 1}}
b23 := n in {1}
b24 := 2 in {"a": n}
b26 if 2 in [n]
b27 if { not 2 in [n] }
b28 := x if { x := [n] }
b29 := "y" if { n } else := "z"
b30 := [1 | n]
b31 := {1 | not n}
b32 := every_(n)
every_(x) if every y in x { y }
b33 if every y in n { y == 1 }
b34 if every y in [n] { y == 1 }
b35 if some y in n
b36 := [y | some y in n]
b37 := {k: v | some k, v in n}
b38 := count(n)
b39 := sum([x | some x in n])
b40 := n.x.y
b41 := object.get(n, "a", 1)
b42 := object.get(input, "nope", n)
b43 := object.get({}, "a", [n])
b44 := is_string(n)
b45 := is_null(n)
b46 := type_name(n)
b47 := sprintf("%v", [n])
b48 := concat("", ["a", n])
b49 := n + 1
b50 := {1} | n
b51 := "x" if not n in [1]
b52 := true if not 1 in {n}
b53 := true == (n == 1)
b54 := (n == 1) == false
b55 := [n == 1, true]
b56 := f(n == 1)
b57 := input.list[n]
b58 := input["signal"][n]
b59 := input[n]
b60 := {"a": 1, "b": n}.a
b61 := [1, n][0]
b62 := {x | x := n}
b63 := 1 in {x | x := n}

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"

default priority := {"priority": "P3", "policy_name": "constant"}
