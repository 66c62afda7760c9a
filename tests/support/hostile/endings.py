"""Programs that take too much, or that do not end. What must come of each is one of the verdicts beside it."""

from __future__ import annotations

TIME, MEMORY, FAIL = "timed out", "out of memory", "failed"
ENDINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "loop": ("while True: pass", (TIME,)),
    "loop when called": ("def answer(n):\n    while True: pass", (TIME,)),
    "loop in C": ("x = 10 ** 10 ** 9", (TIME, MEMORY)),
    "catastrophic pattern": ("import re\nre.match('(a*)*b', 'a' * 99)", (TIME,)),
    "ignores the limit's signal": (
        "import signal\nfor number in range(1, 65):\n    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass",
        (TIME,),
    ),
    "sleeps": ("import time\nwhile True: time.sleep(60)", (TIME,)),
    "waits for itself": ("import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()", (TIME,)),
    "reads its own pipe": ("import os\nr, w = os.pipe()\nos.read(r, 1)", (TIME,)),
    "endless list": ("x = []\nwhile True: x.append(bytearray(10**7))", (MEMORY,)),
    "endless list when called": ("def answer(n):\n    x = []\n    while True: x.append(bytearray(10**7))", (MEMORY,)),
    "one large list": ("x = [0] * 10**10", (MEMORY,)),
    "large mapping": ("import mmap\nx = mmap.mmap(-1, 10**12)", (MEMORY, FAIL)),
    "many threads": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
        (MEMORY, FAIL, TIME),
    ),
    "recursion": ("def f(): return f()\nf()", (FAIL,)),
    "recursion in C": ("x = ()\nfor _ in range(10**6): x = (x,)\nhash(x)\nrepr(x)", (FAIL, MEMORY, TIME)),
    "deep answer": ("def answer(n):\n    x = []\n    for _ in range(10**5): x = [x]\n    return x", (FAIL,)),
    "answer that holds itself": ("def answer(n):\n    x = []\n    x.append(x)\n    return x", (FAIL,)),
    "large answer": ("def answer(n): return 'x' * (32 << 20)", (FAIL, MEMORY)),
    "many answers in one": ("def answer(n): return [0] * (2 << 20)", (FAIL, MEMORY)),
    "shared answer": (
        "def answer(n):\n    x = []\n    for _ in range(99): x = [x, x]\n    return x",
        (FAIL, MEMORY, TIME),
    ),
    "large number": ("def answer(n): return 1 << (1 << 28)", (FAIL, MEMORY)),
    "floods output": ("import sys\nwhile True: print('x' * 10**6)", (TIME,)),
    "floods errors": ("import sys\nwhile True: sys.stderr.write('x' * 10**6)", (TIME,)),
    "large file": ("open('large', 'wb').write(bytes(1 << 24))", (FAIL, "refused")),
    "many files": ("for n in range(20000): open(str(n), 'w').close()\nraise ValueError", (FAIL, TIME, "refused")),
    "many open files": ("x = [open('/dev/null') for _ in range(9999)]", (FAIL,)),
    "nested folders": (
        "import os\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\n    open('f', 'w').close()\nraise ValueError",
        (FAIL, TIME, "refused"),  # Landlock walks up the whole path of each folder
    ),
    "folder with no rights": ("import os\nos.mkdir('d', 0)\nos.umask(0o777)\nraise ValueError", (FAIL, "refused")),
    "fork bomb": ("import os\nwhile True: os.fork()", ("refused", FAIL)),
    "stops itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", ("refused",)),
    "thread that goes on": (
        "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin).start()",
        (FAIL, TIME),
    ),
    "closes its pipes and goes on": ("import os, time\nos.closerange(0, 64)\ntime.sleep(60)", (FAIL,)),
}
