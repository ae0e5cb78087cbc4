package signalprocessing

import rego.v1

environment := {"environment": "Unknown", "source": "default"}

severity := "info"

priority := {"priority": "P3", "policy_name": "x"}

labels contains "e1" if not input.signal.labels.value == "x"
labels contains "e2" if not startswith(input.signal.labels.value, "x")
labels contains "e3" if not lower(input.signal.labels.value) == "x"
labels contains "e4" if not input.signal.labels.value
labels contains "e5" if not input.signal.labels.m.n in ["a"]
labels contains "e6" if not input.signal.labels.value != "x"
labels contains "e7" if not f(input.signal.labels.value)
labels contains "e8" if not is_string(input.signal.labels.value)
labels contains "e9" if not input.signal[input.signal.labels.value]
labels contains "e10" if not data.signalprocessing.zz[input.signal.labels.value]
labels contains "e11" if not {"a": 1}[input.signal.labels.value]
labels contains "e12" if not count(input.signal.labels.value) > 0
labels contains "e13" if not input.signal.labels.value + 1 == 2
labels contains "e14" if not (input.signal.labels.value == "x")
labels contains "e15" if not startswith("a", "b") == input.signal.labels.value
labels contains "e16" if not startswith(q, "x")
labels contains "e17" if not q == "x"
labels contains "e18" if not to_number(lower(input.signal.name)) == 2
labels contains "e19" if not lower(input.signal.name)
labels contains "e20" if not object.get(input, "m", input.namespace.labels.tier) == 1
labels contains "e21" if not [input.signal.labels.value] == [1]
labels contains "e22" if not count([x | x := input.signal.labels.value]) == 1
labels contains "e23" if not input.signal.labels.value = "x"
labels contains "e24" if not input.signal.labels.value in {"a"}
labels contains "e25" if not "a" in input.signal.labels.value
labels contains "e26" if not [input.signal.labels.value]
labels contains "e28" if not is_any({"a": input.signal.labels.value})
labels contains "e29" if not input.signal.labels.value < 1
labels contains "e30" if not to_number(to_number("abc")) == 1
labels contains "e31" if not to_number("abc") == 1
labels contains "e32" if not 1 / 0 == 1
labels contains "e33" if not regex.match("a", input.signal.name)
labels contains "e34" if not input.signal.name == input.signal.labels.value

is_any(x) if x
f(x) if is_string(x)
q := input.signal.labels.value
labels contains "w1" if not startswith(input.signal.labels.value, "9") with input.signal.labels as {"value": "8"}
labels contains "w2" if not input.signal.labels.absent with input.signal.labels.absent as "x"
labels contains "i2" if { some owner in input.workload.ownerChain; not startswith(owner.name, "a") }
labels contains "v1" if { every owner in input.workload.ownerChain { not owner.kind == "Pod" } }
labels contains "v2" if { every _, v in input.namespace.labels { count(v) > 0 } }
labels contains "c1" if count([o | some o in input.workload.ownerChain; not lower(o.kind) == "deployment"]) > 0
