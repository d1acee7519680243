"""What nvidia-smi tells, and what becomes of one that fails or hangs."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from k1ctl.capacity import gpu
from k1ctl.capacity.facts import Facts
from k1ctl.config import Config
from tests.capacity.recorded_hosts import RECORDED

MIB = 1 << 20


def program(tmp_path: Path, script: str) -> str:
    """A stand-in for nvidia-smi."""
    path = tmp_path / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_recorded_output_is_read(tmp_path: Path) -> None:
    """A name with a comma, sizes in MiB; what is not supported is not made up."""
    recorded = RECORDED / "nvidia-smi-constructed.csv"
    found = gpu.read(program(tmp_path, f'test "$1" = {gpu.QUERY[0]} && cat {recorded}'))
    assert found == [
        {"name": "NVIDIA RTX A6000", "memory_bytes": 49140 * MIB, "used_bytes": 1821 * MIB},
        {"name": "Quadro, a name with a comma", "memory_bytes": 8192 * MIB, "used_bytes": 0},
        {"name": "NVIDIA GH200 MIG 1g.12gb", "memory_bytes": 0, "used_bytes": None},
    ]


def test_one_that_fails_is_told(tmp_path: Path) -> None:
    """With its exit code and first words; no error of ours."""
    (found,) = gpu.read(program(tmp_path, "echo 'NVIDIA-SMI has failed because ...' ; exit 9"))
    assert found["error"] == "nvidia-smi failed with 9: NVIDIA-SMI has failed because ..."
    assert gpu.read(str(tmp_path / "missing"))[0]["error"] == "No such file or directory"


def test_one_that_hangs_is_left_at_its_deadline(tmp_path: Path) -> None:
    """And ended."""
    (found,) = gpu.read(program(tmp_path, "exec sleep 60"), timeout=0.05)
    assert found["error"] == "nvidia-smi did not answer within 0.05 s"


@given(st.text(st.sampled_from("a,0 9\n[]N/A"), max_size=40))
def test_no_output_makes_it_fail(text: str) -> None:
    """Each line is a GPU or none."""
    assert all(found["memory_bytes"] >= 0 and found["name"] for found in gpu.parse(text))


def test_configuration_goes_first() -> None:
    """capacity.gpu_memory stands in for what is not told, and for nothing else."""
    facts = Facts("linux", 1, 1, 1, gpus=[{"name": "A", "memory_bytes": 8 * MIB, "used_bytes": MIB}] * 2)
    assert gpu.memory(facts, Config("", {}, {})) == (16 * MIB, 2 * MIB)
    configured = Config("", {("capacity", "gpu_memory"): 24 * MIB}, {})
    assert gpu.memory(facts, configured) == (24 * MIB, 2 * MIB)
    assert gpu.memory(Facts("linux", 1, 1, 1), configured) == (24 * MIB, None)
    assert gpu.memory(Facts("linux", 1, 1, 1), Config("", {}, {})) == (0, None)
