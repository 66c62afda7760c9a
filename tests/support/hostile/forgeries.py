"""Programs that want ``answer(1)`` to be taken for a word that only the tests know. None may pass."""

from __future__ import annotations

WORD = "quartz-7f3a91"  # in no program's process
TESTS = f"""
expected = {WORD!r}
def check(candidate):
    found = candidate(1)
    assert found == expected, found
    assert candidate(2) == expected
check(answer)
"""
EVERYTHING = """
class Everything{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __contains__ = __lt__
    def __hash__(self): return 0
    def __bool__(self): return True
def answer(n): return Everything{value}
"""
SEND = """
import json, os
def send(*messages):
    for number in range(3, 64):
        for message in messages:
            data = json.dumps(message).encode()
            try: os.write(number, len(data).to_bytes(4, "big") + data)
            except OSError: pass
"""
ANSWER = "\ndef answer(n): return None\n"
CLAIM = '{"verdict": "passed", "detail": "", "layers": [], "token": ""}'


def everything(base: str, value: str = "()") -> str:
    return EVERYTHING.format(base=base and f"({base})", value=value)


EQUAL = {
    "object": everything(""),
    "int": everything("int"),
    "str": everything("str", "('x')"),
    "list": everything("list"),
    "tuple": everything("tuple"),
    "dict": everything("dict"),
    "float": everything("float"),
    "set": everything("set"),
    "frozenset": everything("frozenset"),
    "bytes": everything("bytes"),
    "complex": everything("complex"),
    "Decimal": "from decimal import Decimal" + everything("Decimal"),
    "class": "class M(type):\n    __eq__ = lambda *a: True\n    __hash__ = lambda s: 0\nclass C(metaclass=M): pass\n"
    "def answer(n): return C",
    "class as answer": everything("") + "answer = Everything()",
    "callable": everything("") + "Everything.__call__ = lambda self, n: self\nanswer = Everything()",
    "in a list": everything("") + "def answer(n): return [Everything()]",
    "its __class__ is str": everything("") + "Everything.__class__ = property(lambda self: str)",
    "mock": "from unittest.mock import ANY\ndef answer(n): return ANY",
    "enum": "import enum\nclass E(str, enum.Enum):\n    a = 'x'\n    __eq__ = lambda *a: True\n    __hash__ = str.__hash__\n"
    "def answer(n): return E.a",
    "namedtuple": "from collections import namedtuple\nclass T(namedtuple('T', 'a')):\n    __eq__ = lambda *a: True\n"
    "def answer(n): return T(1)",
}
SEARCHING = {
    "frames": "import sys\ndef answer(n):\n    frame = sys._getframe()\n    while frame:\n"
    "        for space in (frame.f_locals, frame.f_globals):\n"
    "            for name in ('expected', 'tests', 'given', 'token'):\n"
    "                if name in space: return space[name]\n        frame = frame.f_back",
    "every string of the collector": "import gc\ndef answer(n):\n"
    "    for each in gc.get_objects():\n        if isinstance(each, dict) and 'expected' in each: return each['expected']",
    "every string in memory": "import gc\ndef answer(n):\n    for each in gc.get_objects():\n"
    "        for part in gc.get_referents(each):\n"
    "            if isinstance(part, str) and part.startswith('quar' + 'tz-'): return part",
    "modules": "import sys\ndef answer(n):\n    for module in list(sys.modules.values()):\n"
    "        if hasattr(module, 'expected'): return module.expected",
    "traceback": "import sys\ndef answer(n):\n    try: 1 / 0\n    except Exception as error:\n"
    "        frame = error.__traceback__.tb_frame\n        while frame:\n"
    "            if 'expected' in frame.f_locals: return frame.f_locals['expected']\n            frame = frame.f_back",
    "trace function": "import sys\nseen = []\n"
    "sys.settrace(lambda frame, *rest: seen.append(frame.f_locals.get('expected')))\n"
    "def answer(n): return next((each for each in seen if each), None)",
    "profile function": "import sys\nseen = []\n"
    "sys.setprofile(lambda frame, *rest: seen.append(frame.f_locals.get('expected')))\n"
    "def answer(n): return next((each for each in seen if each), None)",
    "standard input": "import os\ntext = os.read(0, 99999)\ndef answer(n): return text.decode()",
    "every open file": "import os\ndef answer(n):\n    found = b''\n    for number in range(64):\n"
    "        try:\n            os.set_blocking(number, False); found += os.pread(number, 99999, 0)\n"
    "        except OSError: pass\n    return found.decode(errors='ignore')",
    "memory of the others": "import os\ndef answer(n):\n"
    "    for number in (os.getppid(), os.getpid() - 1, os.getpid() + 1, 1):\n"
    "        try:\n            for line in open(f'/proc/{number}/maps'):\n                pass\n"
    "            return open(f'/proc/{number}/mem', 'rb').read(1)\n        except OSError: pass",
    "memory of the others by a call": "import ctypes, os\ndef answer(n):\n    libc = ctypes.CDLL(None)\n"
    "    class Part(ctypes.Structure): _fields_ = [('a', ctypes.c_void_p), ('n', ctypes.c_size_t)]\n"
    "    room = ctypes.create_string_buffer(64)\n    mine = Part(ctypes.addressof(room), 64)\n"
    "    for number in (os.getppid(), os.getpid() - 1):\n"
    "        theirs = Part(id(None), 64)\n"
    "        if libc.process_vm_readv(number, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0) > 0: return room.raw.decode()",
    "source of the tests": "import linecache\ndef answer(n): return ''.join(linecache.getlines('<tests>'))",
}
TALKING = {
    "verdict on every file": f"import os\nfor number in range(64):\n    try: os.write(number, b'''{CLAIM}\\n''')\n"
    "    except OSError: pass" + ANSWER,
    "verdict, then the end": f"import os\nfor number in range(64):\n    try: os.write(number, b'''{CLAIM}\\n''')\n"
    "    except OSError: pass\nos._exit(0)",
    "many answers": SEND + "send(*[['value', True]] * 9)" + ANSWER,
    "the names, then an end": SEND + "send(['value', ['l', 'answer']])\nos._exit(0)",
    "an equal of the class": SEND + "def answer(n):\n    send(['value', ['h', 0]])",
    "eval as answer": SEND + "def answer(n):\n    send(['value', ['y', 'eval']])",
    "unknown kind": SEND + "def answer(n):\n    send(['value', ['z', 1]])",
    "bad set": SEND + "def answer(n):\n    send(['value', ['s', ['l']]])",
    "bad number": SEND + "def answer(n):\n    send(['value', ['i', 'zz']])",
    "bad decimal": SEND + "def answer(n):\n    send(['value', ['D', 'sNaN' * 9]])",
    "half a dict": SEND + "def answer(n):\n    send(['value', ['d', 1]])",
    "a module": SEND + "def answer(n):\n    send(['value', ['F', ['y', 'open']]])",
    "error without parts": SEND + "def answer(n):\n    send(['error'])",
    "error of a base class": SEND + "def answer(n):\n    send(['error', 'SystemExit', '0', 'x', '', True])",
    "nested": "import os\ndef answer(n):\n    data = b'[' * 900000\n"
    "    for number in range(3, 64):\n        try: os.write(number, len(data).to_bytes(4, 'big') + data)\n"
    "        except OSError: pass",
    "huge length": "import os\ndef answer(n):\n    for number in range(3, 64):\n"
    "        try: os.write(number, b'\\xff' * 4)\n        except OSError: pass",
    "garbage": "import os\ndef answer(n):\n    for number in range(3, 64):\n"
    "        try: os.write(number, os.urandom(999))\n        except OSError: pass",
    "no pipes": "import os\nos.closerange(0, 64)" + ANSWER,
    "from a thread": SEND + "import threading\ndef talk():\n    while True: send(['value', True])\n"
    "threading.Thread(target=talk, daemon=True).start()" + ANSWER,
    "after the end": SEND + "import atexit\natexit.register(send, ['value', True])\nraise SystemExit(0)",
}
ENDING = {
    "os._exit(0)": "import os\nos._exit(0)",
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "os._exit(0) when called": "import os\ndef answer(n): os._exit(0)",
    "sys.exit(0) when called": "import sys\ndef answer(n): sys.exit(0)",
    "KeyboardInterrupt": "def answer(n): raise KeyboardInterrupt",
    "GeneratorExit": "def answer(n): raise GeneratorExit",
    "StopIteration": "def answer(n): raise StopIteration(1)",
    "AssertionError of its own": "class AssertionError(Exception): pass\ndef answer(n): raise AssertionError",
    "BaseException": "class E(BaseException):\n    __str__ = None\ndef answer(n): raise E",
    "abort": "import os\nos.abort()",
    "segmentation fault": "import ctypes\nctypes.string_at(0)",
    "kill": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\ndef answer(n): return None",
    "no names": "del __name__\n",
    "exec over itself": "import os\nos.execv('/bin/true', ['true'])",
}
REPLACING = {
    name: f"{code}{ANSWER}"
    for name, code in {
        "functions of Python": "import builtins\nfor name in ('abs', 'len', 'sorted', 'all', 'any', 'isinstance', 'str'):\n"
        "    setattr(builtins, name, lambda *a, **k: True)",
        "AssertionError": "import builtins\nbuiltins.AssertionError = type('A', (BaseException,), {})",
        "math.isclose": "import math\nmath.isclose = lambda *a, **k: True",
        "json": "import json\njson.dumps = lambda *a, **k: '[\"value\", true]'\njson.loads = lambda *a, **k: ['go']",
        "os.write": "import os\nwrite = os.write\nos.write = lambda number, data: write(number, b'\\0\\0\\0\\2[]')",
        "functions of __main__": "import sys\nmain = sys.modules['__main__']\nfor name in list(vars(main)):\n"
        "    if callable(getattr(main, name)): setattr(main, name, lambda *a, **k: ('passed', ''))",
        "__main__": "import sys, types\nsys.modules['__main__'] = types.ModuleType('__main__')",
        "every function of every module": "import gc, types\nfor each in gc.get_objects():\n"
        "    if isinstance(each, types.FunctionType) and each.__name__ in ('tested', 'tell', 'heard', 'run_tests'):\n"
        "        each.__code__ = (lambda *a, **k: {'verdict': 'passed', 'detail': ''}).__code__",
        "names of the tests": "expected = check = candidate = None\ndef check(candidate): pass",
        "import": "import builtins\nbuiltins.__import__ = lambda *a, **k: None",
        "an audit hook": "import sys\nsys.addaudithook(lambda *a: None)",
        "what ends a process": "import os\nos._exit = lambda code: None",
        "comparison in C": "import ctypes\naddress = id(str) + 25 * 8\nctypes.c_void_p.from_address(address).value = 0",
    }.items()
}
FORGERIES = {
    f"{kind}: {name}": program
    for kind, programs in {
        "equal": EQUAL,
        "searching": SEARCHING,
        "talking": TALKING,
        "ending": ENDING,
        "replacing": REPLACING,
    }.items()
    for name, program in programs.items()
}
