package signalprocessing
import rego.v1

team_allow := {"payments", "a"}
is_ok := input.namespace.labels.team in team_allow
x1 := "no" if is_ok == false
x2 := "no" if not is_ok
x3 := {"ok": is_ok}
x4 := [p | some p in input.dup; p in {"a"}]
x5 := count([1 | some p in input.dup; not p in {"a"}])
x6 := input.namespace.labels.tier in ["gold", "silver"]
x7 if input.namespace.labels.tier in ["gold", "silver"]
x8 := f(input.namespace.labels.tier in ["gold"])
f(x) := x
x9 if { (input.namespace.labels.tier in ["gold"]) == false }
x10 := input.signal.labels.region in {"eu-west-1": 1}
x11 := "eu-west-1" in input.signal.labels
x14 := [a | a := 1 in input.list]
x15 := [1 in input.list, 2]
x16 := (1, 2 in input.list) == true
x17 if { y := input.namespace.labels.team in team_allow; y == false }

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"

default priority := {"priority": "P3", "policy_name": "constant"}
