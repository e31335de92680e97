"""The cores of a process, from what the kernel writes about its cgroups."""

import pytest

from serving.cores import Cores, cores, cpu_limit


@pytest.fixture
def write(tmp_path):
    def write(files):
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="ascii")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        pytest.param({}, None, id="no cgroups"),
        pytest.param({"proc/self/cgroup": "0::/\n"}, None, id="v2, no file at the top"),
        pytest.param({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None, id="v2, none"),
        pytest.param({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5, id="v2"),
        pytest.param(
            {
                "proc/self/cgroup": "0::/pod/main\n",
                "sys/fs/cgroup/pod/cpu.max": "50000 100000\n",
                "sys/fs/cgroup/pod/main/cpu.max": "200000 100000\n",
            },
            0.5,
            id="v2, the group above is tighter",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/../../host/path\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"},
            3.0,
            id="v2, the host's path",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "5:cpuset:/x\n4:cpu,cpuacct:/docker/1a\n1:name=systemd:/docker/1a\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2.5,
            id="v1, seen from within",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/\n0::/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
            id="v1, none",
        ),
    ],
)
def test_the_tightest_limit_counts(write, files, limit):
    assert cpu_limit(write(files)) == limit


def test_this_process_runs_on_some_core():
    assert cores().allowed >= 1


@pytest.mark.parametrize(
    ("given", "engine_threads", "step_threads", "spinning", "text"),
    [
        (Cores(1), 1, 1, True, "1 core, no CPU limit"),
        (Cores(16), 2, 2, True, "16 cores, no CPU limit"),
        (Cores(4, 4.0), 2, 2, True, "4 cores, a CPU limit of 4"),
        (Cores(4, 2.0), 2, 1, False, "4 cores, a CPU limit of 2"),
        (Cores(4, 1.5), 1, 1, False, "4 cores, a CPU limit of 1.5"),
        (Cores(4, 0.25), 1, 1, False, "4 cores, a CPU limit of 0.25"),
    ],
)
def test_threads_fit_the_limit_and_do_not_spin_it_away(given, engine_threads, step_threads, spinning, text):
    assert (given.engine_threads, given.step_threads, given.spinning) == (engine_threads, step_threads, spinning)
    assert str(given) == text
