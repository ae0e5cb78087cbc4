package signalprocessing
import rego.v1

c1 := input.workload.ownerChain[_].apiVersion
c2 contains input.workload.ownerChain[_].apiVersion
c3[input.workload.ownerChain[_].apiVersion] := 1
c4 := [input.workload.ownerChain[_].apiVersion]
c5 := {"a": input.workload.ownerChain[_].apiVersion}
c6 := upper(input.workload.ownerChain[_].apiVersion)
c12 := [y | x := input.workload.ownerChain; y := x[_].apiVersion]
c13 := "z" if false else := input.workload.ownerChain[_].apiVersion
c14 := f(input.workload)
f(w) := w.ownerChain[_].apiVersion
c15 contains upper(input.workload.ownerChain[_].apiVersion) if input.signal
c17 := {upper(o.apiVersion) | o := input.workload.ownerChain[_]}
c18 := {input.workload.ownerChain[_].apiVersion: 1}
c20 := [x | x := input.workload.ownerChain[_].apiVersion]
c21 := [[a, b] | a := input.workload.ownerChain[_].apiVersion; b := input.dup[_]]
c22 := count({x | x := input.workload.ownerChain[_].apiVersion})
c23 if input.workload.ownerChain[_].apiVersion == "x/v1"
c24 if { upper(input.workload.ownerChain[_].apiVersion) == "X/V1" }
c25 if { "x/v1" == input.workload.ownerChain[_].apiVersion }
c26 if { startswith(input.workload.ownerChain[_].apiVersion, "x") }
c27 if { input.workload.ownerChain[_].apiVersion }
c28 if { x := input.workload.ownerChain[_].apiVersion; x != "y" }
c29 := input.workload.ownerChain[i].apiVersion
c30 := [input.workload.ownerChain[i].apiVersion | i := [0, 1][_]]
c32 contains [k, input.namespace.labels[k]] if k := ["team", "tier"][_]
c33[k] := input.namespace.labels[k] if some k in ["team", "tier", "nope"]
c34 contains input.namespace.labels[k] if some k in ["team", "nope", "tier"]
c35[k] contains input.namespace.labels[k] if some k in ["team", "nope", "tier"]
c36 contains o.apiVersion if some o in input.workload.ownerChain
c37[o.kind] := o.apiVersion if some o in input.workload.ownerChain
c38 := [o.apiVersion | some o in input.workload.ownerChain]
c39 := {o.kind: o.apiVersion | some o in input.workload.ownerChain}
c40[o.kind] contains o.apiVersion if some o in input.workload.ownerChain
c41 := {"a": input.nope}[x] if x := "a"
c42 := o.apiVersion if some o in input.workload.ownerChain
c43(x) := input.namespace.labels[x]
c44 := [c43(x) | some x in ["nope", "team"]]
c45 if every o in input.workload.ownerChain { o.apiVersion }
c46 if every o in input.workload.ownerChain { not o.apiVersion }
c47 contains x if { some o in input.workload.ownerChain; x := {"a": o.apiVersion} }
c48 contains sprintf("%s/%s", [o.apiVersion, o.kind]) if some o in input.workload.ownerChain
c49 := concat(",", {o.apiVersion | some o in input.workload.ownerChain})
c50 := [x | some o in input.workload.ownerChain; x := object.get(o, "apiVersion", "v1")]

default environment := {"environment": "Unknown", "source": "default"}

default severity := "info"

default priority := {"priority": "P3", "policy_name": "constant"}
