from tidemill.runner.memory import HostMemory

MIB = 1024 * 1024


def write(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def make_machine(root, cgroup, available_mib=1000):
    write(root, "proc/meminfo", f"MemTotal: 9999999 kB\nMemAvailable:  {available_mib * 1024} kB\n")
    write(root, "proc/self/cgroup", cgroup)
    return HostMemory(root)


def test_the_kernels_reading(tmp_path):
    assert make_machine(tmp_path, "0::/\n").available_bytes() == 1000 * MIB


def test_a_version_2_limit_counts_with_what_can_be_dropped(tmp_path):
    memory = make_machine(tmp_path, "0::/app/engine\n")
    write(tmp_path, "sys/fs/cgroup/app/engine/memory.max", "max\n")
    write(tmp_path, "sys/fs/cgroup/app/engine/memory.current", f"{10 * MIB}\n")
    write(tmp_path, "sys/fs/cgroup/app/engine/memory.stat", "inactive_file 0\n")
    assert memory.available_bytes() == 1000 * MIB
    write(tmp_path, "sys/fs/cgroup/app/memory.max", f"{500 * MIB}\n")
    write(tmp_path, "sys/fs/cgroup/app/memory.current", f"{300 * MIB}\n")
    write(tmp_path, "sys/fs/cgroup/app/memory.stat", f"anon 5\ninactive_file {40 * MIB}\nactive_file 7\n")
    assert memory.available_bytes() == 240 * MIB


def test_a_version_1_limit(tmp_path):
    memory = make_machine(tmp_path, "12:cpu,cpuacct:/a\n4:memory:/docker/abc\n0::/\n")
    # Inside a container the path of the host is not there, only the mount.
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{800 * MIB}\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.usage_in_bytes", f"{750 * MIB}\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.stat", f"total_inactive_file {50 * MIB}\n")
    assert memory.available_bytes() == 100 * MIB


def test_a_version_1_limit_that_is_none(tmp_path):
    memory = make_machine(tmp_path, "4:memory:/\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.usage_in_bytes", f"{750 * MIB}\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.stat", "total_inactive_file 0\n")
    assert memory.available_bytes() == 1000 * MIB


def test_never_negative(tmp_path):
    memory = make_machine(tmp_path, "0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", "100\n")
    write(tmp_path, "sys/fs/cgroup/memory.current", "200\n")
    write(tmp_path, "sys/fs/cgroup/memory.stat", "inactive_file 0\n")
    assert memory.available_bytes() == 0


def test_no_proc_no_reading(tmp_path):
    assert HostMemory(tmp_path).available_bytes() is None


def test_this_machine_says_something():
    available = HostMemory().available_bytes()
    assert available is None or available > 0
