package signalprocessing

import future.keywords.if
import future.keywords.in
import future.keywords.contains
import future.keywords.every

default allow = false
allow = true if input.signal.name
risky if input.namespace.labels.tier == "gold"
w1 if risky with input.namespace.labels.tier as "gold"
w2 if risky with input.namespace.labels as {"tier": "gold"}
w3 if not risky with input.namespace.labels.tier as "x"
w4 := [x | some x in names with input as {"names": ["a", "b"]}]
names := input.names
cfg := {"a": 1}
w10 := v if { v := data.other.x with data.other as {"x": 7} }
w11 := data.nothing.here
w12 if not data.nothing.here
team_of := {"a": "alpha", "payments": "pay"}
w13 := team_of[input.namespace.labels.team]
w14 := object.get(team_of, object.get(input, ["namespace", "labels", "team"], ""), "none")
w15[t] := n if { some n, t in team_of }
w16 contains n if { n := team_of[_] }
w17 := [k | team_of[k] == "pay"][0]
w18 := {"k": input.nope}
w19 := [input.nope, 1]
w20 := [x | x := [1, input.nope][_]]
w21 := {"a": {"b": [x | some x in input.dup]}}

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"

default priority := {"priority": "P3", "policy_name": "constant"}
