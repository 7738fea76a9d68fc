"""The examples for clusters: the Slurm script on two nodes here, the KubeRay manifest."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from clusters import killed
from finished import finished
from test_cluster import LONGER, losses, places, reached, report_of

EXAMPLES = Path(__file__).parents[1] / "examples"

SRUN = """\
#!/bin/bash
# stands in for Slurm's: the same command as each of two tasks
while [ "${1#--}" != "$1" ]; do shift; done
for id in 0 1; do
  SLURM_NODEID=$id "$@" & echo $! > "node-$id.pid"
done
wait
"""
PROGRAM = '#!/bin/bash\nexec "{python}" -m {module} "$@"\n'


def write_program(path, text):
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def submit(tmp_path):
    """Run the script on two nodes of this machine; what it started ends with the test."""
    folder = tmp_path / "allocation"
    programs = folder / "bin"
    programs.mkdir(parents=True)
    write_program(programs / "srun", SRUN)
    for name, module in (("ray", "ray.scripts.scripts"), ("lagsearch", "lagsearch.cli")):
        write_program(programs / name, PROGRAM.format(python=sys.executable, module=module))
    begun = []

    def begin(space, **changes):
        slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "1"}
        # else as importing ray for one machine in this process left it
        slurm["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1"
        job = subprocess.Popen(
            ["bash", str(EXAMPLES / "slurm" / "run.sbatch"), str(space), "run"],
            cwd=folder,
            env={**os.environ, **slurm, "PATH": f"{programs}:{os.environ['PATH']}", **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        begun.append(job)
        return job, folder

    yield begin
    for each in ("node-0.pid", "node-1.pid"):
        if (folder / each).is_file():
            killed(int((folder / each).read_text()))
    for job in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_slurm_script_outlives_a_node(write_space, submit, tmp_path, monkeypatch):
    space = write_space(*LONGER)
    job, folder = submit(space)
    while len(reached(folder / "run")) < 2:
        assert job.poll() is None, job.stdout.read()
        time.sleep(0.05)
    killed(int((folder / "node-1.pid").read_text()))
    said, _ = job.communicate(timeout=900)
    assert job.returncode == 0, said
    assert "lost its worker on" in said
    assert len({each["node"] for each in places(folder.glob("run/curves/*.devices.json"))}) == 2
    monkeypatch.setenv("LAGSEARCH_CACHE", str(folder / "cache"))
    assert losses(report_of(folder / "run")) == losses(finished(space, tmp_path / "whole").report)


@pytest.mark.ray
@pytest.mark.slow
def test_the_slurm_script_does_not_wait_for_ever_for_a_node(write_space, submit):
    job, folder = submit(write_space(), SLURM_NNODES="3", WAIT_S="20")
    said, _ = job.communicate(timeout=250)
    assert job.returncode == 1
    assert said.strip().endswith("Ray did not start on all 3 nodes: ray.log says why")
    assert not (folder / "run").exists()


FIELDS = {  # KubeRay's CRD API reference, docs.ray.io/en/master/kuberay/references/api.html
    "RayJobSpec": "activeDeadlineSeconds authOptions backoffLimit rayClusterSpec entrypoint "
    "runtimeEnvYAML submissionMode shutdownAfterJobFinishes suspend ttlSecondsAfterFinished",
    "RayClusterSpec": "authOptions enableInTreeAutoscaling headGroupSpec rayVersion suspend "
    "workerGroupSpecs",
    "HeadGroupSpec": "headService rayStartParams serviceType template",
    "WorkerGroupSpec": "groupName maxReplicas minReplicas numOfHosts rayStartParams replicas "
    "template",
}


def has_fields(value, kind):
    assert {*value} <= {*FIELDS[kind].split()}, kind


def test_the_manifest_has_the_fields_that_kuberay_names():
    job = yaml.safe_load((EXAMPLES / "kuberay" / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    head, [workers] = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    has_fields(job["spec"], "RayJobSpec")
    has_fields(cluster, "RayClusterSpec")
    has_fields(head, "HeadGroupSpec")
    has_fields(workers, "WorkerGroupSpec")
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (head, workers):
        assert all(type(value) is str for value in group["rayStartParams"].values())
        [pod] = group["template"]["spec"]["containers"]
        shared = {each["mountPath"] for each in pod["volumeMounts"]}
        assert shared == {"/shared"}
        assert {"name": "LAGSEARCH_CACHE", "value": "/shared/cache"} in pod["env"]
        assert pod["resources"]["requests"] == pod["resources"]["limits"]
        [volume] = group["template"]["spec"]["volumes"]
        assert volume["name"] == pod["volumeMounts"][0]["name"]
    assert job["spec"]["entrypoint"].split()[:2] == ["lagsearch", "run"]
