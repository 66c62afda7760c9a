"""Attempts to reach what is not the program's own.

Each is the body of a function that raises, or gives None, where it is held, and gives something else where it got through.
"""

from __future__ import annotations

HEAD = """
import ctypes, os, signal, socket, sys, time
try: libc = ctypes.CDLL(None, use_errno=True)
except OSError: libc = None
def call(name, *arguments):
    number = getattr(libc, name)(*arguments)
    if number < 0: raise OSError(ctypes.get_errno(), name)
    return True
def by_number(*arguments):  # x86-64 and, from 424 on, all machines
    if arguments[0] < 424 and os.uname().machine != "x86_64": raise OSError("another machine")
    number = libc.syscall(*(ctypes.c_long(each) if isinstance(each, int) else each for each in arguments))
    if number < 0: raise OSError(ctypes.get_errno(), "syscall")
    return True
def at(name): return os.path.join(FOLDER, name)
"""
PROCESSES = {
    "fork": "if os.fork() == 0: os._exit(0)\nreturn True",
    "forkpty": "if os.forkpty()[0] == 0: os._exit(0)\nreturn True",
    "vfork by number": "return by_number(58)",
    "clone by number": "return by_number(56, 17, 0, 0, 0, 0)",
    "clone3": "return by_number(435, (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17), 88)",
    "clone with new namespaces": "return by_number(56, 0x10000000 | 17, 0, 0, 0, 0)",
    "subprocess": "import subprocess\nreturn subprocess.run(['true']).returncode == 0 or None",
    "os.system": "return os.system('true') == 0 or None",
    "popen": "return os.popen('echo hi').read() or None",
    "posix_spawn": "return os.posix_spawn('/bin/true', ['true'], {})",
    "execv": "os.execv('/bin/nothing', ['nothing'])",
    "execveat": "return by_number(322, os.open('/dev/null', 0), b'', 0, 0, 0x1000)",
    "fork_exec past the hook": "import _posixsubprocess\nr, w = os.pipe()\nwhile w < 3: w = os.dup(w)\n"
    "args = [b'/bin/true']\nargument = (args, args, True, (w,), None, None, -1, -1, -1, -1, -1, -1, r, w, False, True,\n"
    "            -1, None, None, None, -1, None, False)\nreturn _posixsubprocess.fork_exec(*argument)",
    "multiprocessing": "import multiprocessing\np = multiprocessing.get_context('fork').Process(target=int)\n"
    "p.start()\nreturn True",
    "ctypes fork": "number = libc.fork()\nif number == 0: os._exit(0)\nreturn number if number > 0 else None",
    "io_uring": "return by_number(425, 4, (ctypes.c_char * 120)())",
    "kill the tool by 0": "os.kill(TOOL, 0)\nreturn True",
    "kill the parent": "os.kill(os.getppid() or TOOL, 0)\nreturn True",
    "kill all": "os.kill(-1, signal.SIGCONT)\nreturn True",
    "kill the group": "os.killpg(0, signal.SIGCONT)\nreturn True",
    "pidfd of the tool": "return signal.pidfd_send_signal(os.pidfd_open(TOOL), 0) is None",
    "pidfd_open": "return os.pidfd_open(TOOL)",
    "pidfd_getfd": "return by_number(438, os.pidfd_open(TOOL), 0, 0)",
    "tgkill": "return by_number(234, TOOL, TOOL, 0)",
    "tkill": "return by_number(200, TOOL, 0)",
    "rt_sigqueueinfo": "return by_number(129, TOOL, 0, (ctypes.c_char * 128)())",
    "signal by owner of a pipe": "import fcntl\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, TOOL)\n"
    "fcntl.fcntl(r, 10, 0)\nreturn True",
    "signal by ioctl": "import fcntl\nr, w = os.pipe()\nfcntl.ioctl(r, 0x8901, TOOL.to_bytes(4, 'little'))\nreturn True",
    "ptrace": "return call('ptrace', 16, TOOL, 0, 0)",
    "ptrace of the parent": "return call('ptrace', 0x4206, os.getppid() or TOOL, 0, 0)",
    "process_vm_writev": "return by_number(311, TOOL, 0, 0, 0, 0, 0)",
    "priority of the tool": "os.setpriority(os.PRIO_PROCESS, TOOL, 5)\nreturn True",
    "limits of the tool": "import resource\nresource.prlimit(TOOL, resource.RLIMIT_CORE, (0, 0))\nreturn True",
    "scheduling of the tool": "os.sched_setaffinity(TOOL, os.sched_getaffinity(0))\nreturn True",
    "session of its own": "os.setsid()\nreturn True",
    "memory of the tool": "return open(f'/proc/{TOOL}/mem', 'r+b')",
    "memory of the parent": "return open(f'/proc/{os.getppid() or TOOL}/mem', 'r+b')",
    "memory of the tests": "for number in range(max(2, os.getpid() - 4), os.getpid() + 4):\n"
    "    if number != os.getpid() and os.path.exists(f'/proc/{number}/mem'): return open(f'/proc/{number}/mem', 'r+b')",
    "outlive the tool": "return call('prctl', 1, 0, 0, 0, 0)",
    "be dumpable": "return call('prctl', 4, 1, 0, 0, 0)",
    "take orphans": "return call('prctl', 36, 1, 0, 0, 0)",
}
NETWORK = {
    "connect": "socket.create_connection(('127.0.0.1', PORT), 1)\nreturn True",
    "udp": "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    "ipv6": "return socket.socket(socket.AF_INET6)",
    "listen": "return socket.create_server(('127.0.0.1', 0))",
    "unix": "return socket.socket(socket.AF_UNIX)",
    "raw": "return socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "packets": "return socket.socket(socket.AF_PACKET)",
    "netlink": "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "kernel crypto": "return socket.socket(38, socket.SOCK_SEQPACKET)",
    "virtual machines": "return socket.socket(40, socket.SOCK_STREAM)",
    "names": "return socket.getaddrinfo('localhost', 80) and socket.socket()",
    "url": "import urllib.request\nreturn urllib.request.urlopen('http://127.0.0.1:%d' % PORT, timeout=1)",
    "socket by number": "return by_number(41, 2, 1, 0)",
}
READING = {
    "environment of the tool": "return open(f'/proc/{TOOL}/environ', 'rb').read()",
    "files of the tool": "return os.listdir(f'/proc/{TOOL}/fd')",
    "secret": "return open(SECRET).read()",
    "its folder": "return os.listdir(FOLDER)",
    "home": "return os.listdir(os.path.expanduser('~root'))",
    "passwords": "return open('/etc/passwd').read()",
    "open_by_handle": "return by_number(304, -100, (ctypes.c_char * 128)(8), 0)",
    "by a link": "os.symlink(SECRET, 'here')\nreturn open('here').read()",
    "by a hard link": "os.link(SECRET, 'mine')\nreturn open('mine').read()",
    "by its descriptor's path": "return open('/proc/self/root' + SECRET).read()",
    "by a folder opened before": "return os.open('secret', 0, dir_fd=os.open(FOLDER, os.O_RDONLY))",
    "by a path of the system's": "return os.open(SECRET, os.O_PATH) and open(SECRET).read()",
    "sqlite": "import sqlite3\nreturn sqlite3.connect(f'file:{SECRET}?mode=ro', uri=True).execute('pragma schema_version')",
    "disks": "return open('/dev/vda', 'rb').read(1)",
    "kernel log": "return open('/dev/kmsg').read(1)",
    "leave the root": "os.chroot('.')\nfor _ in range(99): os.chdir('..')\nos.chroot('.')\nreturn open(SECRET).read()",
    "climb": "home = os.getcwd()\ntry:\n    for _ in range(99): os.chdir('..')\n    return open(SECRET[1:]).read()\n"
    "finally: os.chdir(home)",
}
CHANGING = {
    "create": "return open(at('new'), 'w')",
    "create by number": "return by_number(2, os.fsencode(at('new')), os.O_CREAT | os.O_WRONLY, 0o600)",
    "creat": "return call('creat', os.fsencode(at('new')), 0o600)",
    "openat2": "return by_number(437, -100, os.fsencode(at('new')), (ctypes.c_uint64 * 3)(0o101, 0o600, 0), 24)",
    "append": "return open(SECRET, 'a')",
    "truncate": "os.truncate(SECRET, 0)\nreturn True",
    "remove": "os.remove(SECRET)\nreturn True",
    "rename": "os.rename(SECRET, at('moved'))\nreturn True",
    "take": "os.rename(SECRET, 'mine')\nreturn True",
    "put": "open('own', 'w').close()\nos.rename('own', at('new'))\nreturn True",
    "folder": "os.mkdir(at('new'))\nreturn True",
    "remove the folder": "os.rmdir(FOLDER)\nreturn True",
    "sqlite": "import sqlite3\nsqlite3.connect(at('new.db')).execute('create table a (b)')\nreturn True",
    "dbm": "import dbm.dumb\ndbm.dumb.open(at('new'), 'c')['a'] = 'b'\nreturn True",
    "logging": "import logging\nreturn logging.FileHandler(at('new'))",
    "tempfile": "import tempfile\nreturn tempfile.mkstemp(dir=FOLDER)",
    "pipe with a name": "os.mkfifo(at('new'))\nreturn True",
    "device": "os.mknod(at('new'), 0o20600, os.makedev(1, 3))\nreturn True",
    "node": "os.mknod(at('new'))\nreturn True",
    "device of its own": "os.mknod('disk', 0o60600, os.makedev(254, 0))\nreturn open('disk', 'rb').read(1)",
    "socket": "socket.socket(socket.AF_UNIX).bind(at('new'))\nreturn True",
    "symbolic link": "os.symlink('nothing', at('new'))\nreturn True",
    "link through": "os.symlink(FOLDER, 'here')\nreturn open('here/new', 'w')",
    "hard link": "os.link(SECRET, at('new'))\nreturn True",
    "mode": "os.chmod(SECRET, 0o777)\nreturn True",
    "mode by descriptor": "os.fchmod(os.open(SECRET, os.O_RDONLY), 0o777)\nreturn True",
    "mode of the folder": "os.chmod(FOLDER, 0o777)\nreturn True",
    "owner": "os.chown(SECRET, 1, 1)\nreturn True",
    "time": "os.utime(SECRET, (0, 0))\nreturn True",
    "attribute": "os.setxattr(SECRET, 'user.a', b'b')\nreturn True",
    "by a folder's descriptor": "os.close(os.open('new', os.O_CREAT | os.O_WRONLY, dir_fd=os.open(FOLDER, 0)))\nreturn 1",
    "Python's own library": "return open(os.__file__, 'a')",
    "a module beside it": "return open(os.path.join(os.path.dirname(os.__file__), 'evil.py'), 'w')",
    "bytecode": "import py_compile\nreturn py_compile.compile(os.__file__, cfile=at('new'))",
    "watch": "return call('inotify_init')",
    "file without a name": "return os.open(FOLDER, os.O_TMPFILE | os.O_RDWR, 0o600)",
    "shared memory": "from multiprocessing import shared_memory\n"
    "return shared_memory.SharedMemory('mdm_tune_hostile', True, 8)",
    "message queue": "return by_number(240, b'mdm', 0o102, 0o600, 0)",
    "shared memory by key": "return call('shmget', 0x6d646d, 64, 0o1600)",
}
RIGHTS = {
    "become root": "os.setuid(0)\nos.seteuid(0)\nreturn os.getuid() == 0 and os.listdir('/root')",
    "groups": "os.setgroups([0])\nreturn True",
    "become another": "os.setresuid(1, 1, 1)\nreturn True",
    "user namespace": "return call('unshare', 0x10000000)",
    "mount namespace": "return call('unshare', 0x20000)",
    "enter a namespace": "return call('setns', os.open('/proc/1/ns/mnt', 0), 0)",
    "mount": "return call('mount', b'none', b'.', b'tmpfs', 0, None)",
    "mount anew": "return by_number(428, -100, b'/', 1)",
    "take off": "return call('umount2', b'/proc', 2)",
    "pivot_root": "return by_number(155, b'.', b'.')",
    "chroot": "os.chroot('.')\nreturn True",
    "host name": "socket.sethostname('mine')\nreturn True",
    "clock": "time.clock_settime(time.CLOCK_REALTIME, time.time())\nreturn True",
    "modules": "return by_number(175, b'', 0, b'')",
    "bpf": "return by_number(321, 0, (ctypes.c_char * 128)(), 128)",
    "keys": "return by_number(250, 0, -3, 1)",
    "performance": "return by_number(298, (ctypes.c_char * 128)(), 0, -1, -1, 0)",
    "userfaultfd": "return by_number(323, 1)",
    "memory file": "return os.memfd_create('a')",
    "more time": "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (-1, -1))\nreturn True",
    "more memory": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nreturn True",
    "more files": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\nreturn True",
    "larger files": "with open('big', 'wb') as file: file.write(bytes(2 << 20))\nreturn True",
    "locked memory": "return call('mlockall', 1)",
    "another filter": "return call('prctl', 22, 1, 0, 0, 0)",
    "another architecture": "return call('personality', 8)",
}
ESCAPES = {
    f"{kind}: {name}": body
    for kind, bodies in {
        "processes": PROCESSES,
        "network": NETWORK,
        "reading": READING,
        "changing": CHANGING,
        "rights": RIGHTS,
    }.items()
    for name, body in bodies.items()
}


def batch(given: dict[str, object]) -> str:
    """One program whose ``got_through()`` names the attempts that were not held; given: FOLDER, SECRET, TOOL, PORT."""
    lines = [*(f"{name} = {value!r}" for name, value in given.items()), HEAD, "attempts = {}"]
    for number, (name, body) in enumerate(ESCAPES.items()):
        inner = body.replace("\n", "\n    ")
        lines.append(f"def attempt_{number}():\n    {inner}\nattempts[{name!r}] = attempt_{number}")
    return "\n".join(lines) + (
        "\ndef got_through():\n    found = []\n    for name, attempt in attempts.items():\n"
        "        try: got = attempt()\n        except Exception: continue\n"
        "        if got is not None and got is not False: found.append(name)\n    return found\n"
    )
