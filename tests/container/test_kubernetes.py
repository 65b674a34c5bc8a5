"""The manifests: by the schemas of Kubernetes, and what they grant."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "packaging/kubernetes"
OLDEST = "1.30"  # the first with appArmorProfile
LATEST = kubernetes_validate.latest_version()
LEAST = ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"]


def read(path):
    return yaml.safe_load((FOLDER / path).read_text())


def at(value, path):
    """The container of what a JSON pointer names, and its key there."""
    *parents, last = path.strip("/").split("/")
    for part in parents:
        value = value[int(part) if isinstance(value, list) else part]
    return value, last


def built(folder):
    """What `kustomize build` makes of these folders: resources, with patches of two kinds."""
    kustomization = read(f"{folder}/kustomization.yaml")
    assert kustomization["kind"] == "Kustomization"
    assert set(kustomization) <= {
        *("apiVersion", "kind", "namespace", "resources", "images", "patches"),
    }
    resources = []
    for name in kustomization["resources"]:
        path = (FOLDER / folder / name).resolve()
        resources += built(path.relative_to(FOLDER)) if path.is_dir() else [read(path)]
    for patch in kustomization.get("patches", []):
        (target,) = [one for one in resources if one["kind"] == patch["target"]["kind"]]
        for operation in yaml.safe_load(patch["patch"]):
            place, last = at(target, operation["path"])
            if operation["op"] == "remove":
                del place[last]
            else:
                assert (operation["op"], last) == ("add", "-")
                place.append(operation["value"])
    return resources


def container(folder):
    (daemonset,) = [one for one in built(folder) if one["kind"] == "DaemonSet"]
    (only,) = daemonset["spec"]["template"]["spec"]["containers"]
    return only


@pytest.mark.parametrize("version", [OLDEST, LATEST])
@pytest.mark.parametrize("folder", ["base", "other-namespaces"])
def test_kubernetes_accepts_the_manifests(folder, version):
    """Strictly: a field that it does not know is a mistake, too."""
    resources = built(folder)
    assert [one["kind"] for one in resources] == ["Namespace", "DaemonSet"]
    for one in resources:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_mistake_would_be_noticed():
    (_, daemonset) = built("base")
    daemonset["spec"]["template"]["spec"]["hostPid"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(daemonset, LATEST, strict=True)


def test_the_base_grants_what_the_table_names_and_no_more():
    context = container("base")["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": LEAST}
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert "privileged" not in context


def test_peers_in_pods_take_one_capability_more():
    """With it, Kubernetes refuses allowPrivilegeEscalation: false."""
    context = container("other-namespaces")["securityContext"]
    assert context["capabilities"]["add"] == [*LEAST, "SYS_ADMIN"]
    assert "allowPrivilegeEscalation" not in context


def test_the_selector_selects_the_pods():
    (namespace, daemonset) = built("base")
    spec = daemonset["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert namespace["metadata"]["name"] == read("base/kustomization.yaml")["namespace"]


def test_the_image_is_that_of_the_kustomization():
    (image,) = read("base/kustomization.yaml")["images"]
    assert container("base")["image"] == image["name"]
