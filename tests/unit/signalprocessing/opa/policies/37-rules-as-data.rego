package signalprocessing

import rego.v1

rules := [
	{"name": "db", "kinds": {"StatefulSet", "Db"}, "severity": {"critical"}, "priority": "P0"},
	{"name": "prod", "namespaces": ["prod-*", "team-*"], "priority": "P1"},
	{"name": "any", "priority": "P3"},
]

applies(rule) if {
	kind_ok(rule)
	ns_ok(rule)
	sev_ok(rule)
}

kind_ok(rule) if not rule.kinds
kind_ok(rule) if input.workload.kind in rule.kinds
kind_ok(rule) if { some o in input.workload.ownerChain; o.kind in rule.kinds }
ns_ok(rule) if not rule.namespaces
ns_ok(rule) if { some g in rule.namespaces; glob.match(g, ["."], input.namespace.name) }
sev_ok(rule) if not rule.severity
sev_ok(rule) if rule.severity[lower(input.signal.severity)]

matching := [r | some r in rules; applies(r)]
first := matching[0]
names := [r.name | some r in matching]
priority := {"priority": first.priority, "policy_name": first.name}
best := min([r.priority | some r in matching])
by_priority[r.priority] contains r.name if some r in matching
summary := sprintf("%s:%d", [first.name, count(matching)])
scores := {r.name: s | some i, r in rules; s := (count(rules) - i) * 10}
total := sum([s | some n, s in scores; n in names])
ratio := total / count(rules)
level := "high" if ratio > 10
else := "mid" if ratio > 5
else := "low"
grouped := {p: {r.name | some r in rules; r.priority == p} | some p in {r.priority | some r in rules}}
conflict := {r.priority: r.name | some r in array.concat(rules, [{"priority": "P0", "name": input.namespace.name}])}
environment := {"environment": e, "source": "t"} if {
	some [glob_, e] in [["prod-*", "Production"], ["*-staging", "Staging"], ["**", "Development"]]
	glob.match(glob_, [], input.namespace.name)
	not earlier(glob_)
}
earlier(g) if { g == "**"; some x in ["prod-*", "*-staging"]; glob.match(x, [], input.namespace.name) }

default severity := "info"
