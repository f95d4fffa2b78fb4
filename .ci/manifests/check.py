"""Checks what no schema of Kubernetes says: that the manifests fit each other, the settings and the health of the service.

ServiceMonitor is a kind of the Prometheus operator, whose schema no package has: only what is read here is checked of it.
"""

import sys

import yaml

rendered, sample = sys.argv[1:]
with open(rendered) as file:
    objects = [item for item in yaml.safe_load_all(file) if item]
with open(sample) as file:
    settings = {line.split("=")[0] for line in file if "=" in line and not line.startswith("#")}


def the(kind):
    found = [item for item in objects if item["kind"] == kind]
    assert len(found) == 1, f"{rendered}: {len(found)} of {kind}"
    return found[0]


def matches(selector, labels, what):
    wanted = selector.get("matchLabels", selector)
    assert wanted.items() <= labels.items(), f"{what}: {wanted} does not match {labels}"


expected = {
    "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Job", "NetworkPolicy", "PodDisruptionBudget", "Service",
    "ServiceAccount",
}
kinds = {item["kind"] for item in objects}
assert expected <= kinds, f"{rendered} lacks {expected - kinds}"
assert kinds - expected <= {"Namespace", "ServiceMonitor"}, f"{rendered} has {kinds - expected}"

deployment, job, service = the("Deployment"), the("Job"), the("Service")
config = the("ConfigMap")
labels = deployment["spec"]["template"]["metadata"]["labels"]
job_labels = job["spec"]["template"]["metadata"]["labels"]

# Pods that may do as little as possible.
variables = set(config["data"])
for workload in (deployment, job):
    name, pod = workload["metadata"]["name"], workload["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False, name
    assert pod["serviceAccountName"] == the("ServiceAccount")["metadata"]["name"], name
    assert pod["securityContext"]["runAsNonRoot"] is True, name
    assert pod["securityContext"]["runAsUser"] == 10001, f"{name}: the image's user is another"
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"]["drop"] == ["ALL"], name
        assert "memory" in container["resources"]["limits"], name
        variables |= {variable["name"] for variable in container.get("env", [])}
        for source in container.get("envFrom", []):
            assert source["configMapRef"]["name"] == config["metadata"]["name"], name
assert variables <= settings, f"no settings of rejoin: {variables - settings}"

# The health of the service: its database may be away without a restart.
[container] = deployment["spec"]["template"]["spec"]["containers"]
[port] = container["ports"]
assert config["data"]["REJOIN_LISTEN"] == f"0.0.0.0:{port['containerPort']}"
for probe, path in (("startupProbe", "/health/live"), ("livenessProbe", "/health/live"), ("readinessProbe", "/health/ready")):
    get = container[probe]["httpGet"]
    assert (get["path"], get["port"]) == (path, port["name"]), f"{probe}: {get}"
    # A ping of the database that is frozen takes 2 s.
    assert container[probe]["timeoutSeconds"] >= 3, probe
assert container["args"] == ["serve", "--no-migrate"]
assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["migrate"]
# SIGTERM comes after the pause, and then requests have 25 s.
pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > pause + 25

# Who selects whom.
matches(deployment["spec"]["selector"], labels, "Deployment")
matches(the("PodDisruptionBudget")["spec"]["selector"], labels, "PodDisruptionBudget")
matches(service["spec"]["selector"], labels, "Service")
assert not service["spec"]["selector"].items() <= job_labels.items(), "the Service selects the pods of the migration"
policy = the("NetworkPolicy")["spec"]
for selected in (labels, job_labels):
    matches(policy["podSelector"], selected, "NetworkPolicy")
[inward] = policy["ingress"]
assert [allowed["port"] for allowed in inward["ports"]] == [port["containerPort"]]
[service_port] = service["spec"]["ports"]
assert service_port["targetPort"] == port["name"]
autoscaler = the("HorizontalPodAutoscaler")["spec"]
assert autoscaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
assert "replicas" not in deployment["spec"], "the autoscaler sets the replicas"
assert 2 <= autoscaler["minReplicas"] <= autoscaler["maxReplicas"]

# What the example's patches and its component are to do.
if "Namespace" in kinds:
    namespace = the("Namespace")["metadata"]["name"]
    assert all(item["metadata"].get("namespace", namespace) == namespace for item in objects)
    for workload in (deployment, job):
        image = workload["spec"]["template"]["spec"]["containers"][0]["image"]
        assert image == "registry.example/rejoin:0.1.0", image
    assert autoscaler["minReplicas"] == 3
    assert config["data"]["REJOIN_AUTO_RESTORE"] == "dropped"
    assert any("ipBlock" in peer for rule in policy["egress"] for peer in rule.get("to", []))
    monitor = the("ServiceMonitor")["spec"]
    matches(monitor["selector"], service["metadata"]["labels"], "ServiceMonitor")
    assert [(end["port"], end["path"]) for end in monitor["endpoints"]] == [(service_port["name"], "/metrics")]

print(f"{rendered}: {len(objects)} objects fit each other")
