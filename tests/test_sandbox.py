"""The sandbox: programs that mean harm do none, are told apart, and cannot pass for what they are not."""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import textwrap
import threading
import time

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from introspect.sandbox import Limits, program, run_program, why_not
from introspect.sandbox.filter import ALLOW, KILL, MACHINES, REFUSE, build_filter

contained = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
QUICK = Limits(cpu_seconds=1, wall_seconds=3.0)


def run(source, calls=((),), limits=QUICK, function="f"):
    began = time.monotonic()
    result = run_program(textwrap.dedent(source), function, calls, limits)
    assert time.monotonic() - began < limits.wall_seconds + 2
    assert len(result.calls) == len(calls)
    return result


def body(lines):
    return "def f():\n" + textwrap.indent(textwrap.dedent(lines), "    ")


def decide(lines, arch, number, argument=0):
    """What a BPF program returns: an interpreter of the three instructions that filters use."""
    data = struct.pack("=IIQ6Q", number, arch, 0, argument, 0, 0, 0, 0, 0)
    program_lines = list(struct.iter_unpack("=HBBI", lines))
    at, held = 0, 0
    while True:
        code, yes, no, k = program_lines[at]
        if code == 0x06:
            return k
        if code == 0x20:
            held = struct.unpack_from("=I", data, k)[0]
        at += 1 + (0 if code == 0x20 else yes if held == k else no)


@pytest.mark.parametrize("name", ["x86_64", "aarch64"])
def test_the_filter_allows_its_list_and_nothing_else(name):
    machine = MACHINES[name]
    lines = build_filter(machine)
    for number in [*range(600), 0x40000000 + 1, 0x40000000 + 59]:
        wanted = ALLOW if number in machine.allowed else REFUSE
        if number == machine.write:
            continue
        assert decide(lines, machine.audit, number) == wanted
    assert decide(lines, machine.audit, machine.write, 1) == ALLOW
    assert decide(lines, machine.audit, machine.write, 2) == REFUSE
    assert decide(lines, machine.audit, machine.write, 0) == REFUSE
    other = MACHINES["aarch64" if name == "x86_64" else "x86_64"]
    assert {decide(lines, other.audit, number) for number in range(600)} == {KILL}


def test_no_call_on_the_lists_reaches_beyond_the_process():
    harmful = {
        "x86_64": {0, 2, 28, 41, 56, 57, 58, 59, 62, 101, 157, 160, 200, 202, 234, 257, 272, 302, 317, 322, 425, 435},
        "aarch64": {56, 63, 98, 117, 129, 130, 131, 164, 167, 198, 220, 221, 233, 261, 277, 281, 425, 435},
    }
    for name, numbers in harmful.items():
        assert not numbers & set(MACHINES[name].allowed)


@contained
class TestValues:
    def test_come_back_as_the_program_returned_them(self):
        values = [None, True, 3, -7, 1.5, "é\n\ud800", [1, [2, []]], {"a": {"b": [None]}}, 2**4000]
        result = run("def f(x):\n    return x", [[value] for value in values])
        assert result.status == "ran"
        assert [call.value for call in result.calls] == values
        assert [type(call.value) for call in result.calls] == [type(value) for value in values]

    def test_calls_do_not_share_arguments_and_may_raise(self):
        result = run("def f(xs):\n    xs.append(1 // len(xs))\n    return xs", [[[5]], [[]], [[5]]])
        assert result.status == "ran"
        assert [call.value for call in result.calls] == [[5, 1], None, [5, 1]]
        assert result.calls[1].error == "ZeroDivisionError"

    def test_what_equals_is_what_an_assertion_would_find(self):
        calls = run("def f(x):\n    return {'t': (1, 2), 'l': [1, 2], 'b': True}[x]", [["t"], ["l"], ["b"]]).calls
        assert not calls[0].gives([1, 2]) and calls[0].error == "returned a tuple, which is no JSON value"
        assert calls[1].gives([1, 2]) and not calls[1].gives([1, 3])
        assert calls[2].gives(True) and calls[2].gives(1)

    def test_allowed_modules_can_be_imported_and_others_cannot(self):
        source = """
            import math, re, itertools, functools, collections, string, random, heapq, bisect, fractions, decimal
            import statistics, operator, datetime, json, typing, copy
            from collections import Counter
            def f(a):
                datetime.datetime.strptime("2024-02-03", "%Y-%m-%d")
                return [math.gcd(12, a), re.sub("a", "b", "aa"), statistics.median([1, 2, 9]), Counter("aab")]
        """
        assert run(source, [[18]]).calls[0].value == [6, "bb", 2, {"a": 2, "b": 1}]
        result = run("import urllib.request\ndef f(): return 1")
        assert result.status == "unsupported_import" and result.calls[0].error == "not reached"

    @pytest.mark.parametrize(
        ("module", "expression", "value"),
        [
            ("array", "array.array('i', [1, 2]).tolist()", [1, 2]),
            ("ast", "ast.literal_eval('[1]')", [1]),
            ("base64", "base64.b64encode(b'x').decode()", "eA=="),
            ("calendar", "calendar.monthrange(2024, 2)[1]", 29),
            ("cmath", "cmath.sqrt(-1).imag", 1.0),
            ("dataclasses", "dataclasses.asdict(dataclasses.make_dataclass('P', ['x'])(1))", {"x": 1}),
            ("difflib", "difflib.SequenceMatcher(None, 'ab', 'ac').ratio()", 0.5),
            ("enum", "enum.Enum('E', 'a b').b.value", 2),
            ("hashlib", "[len(hashlib.new(n, b'x').hexdigest()) for n in ('md5', 'sha256', 'blake2b')]", [32, 64, 128]),
            ("collections", "collections.Counter('aab').most_common(1)[0][0]", "a"),
            ("collections", "collections.UserDict(a=1).copy()['a']", 1),
            ("statistics", "statistics.mode([1, 1, 2])", 1),
            ("functools", "functools.singledispatch(lambda x: x)(2)", 2),
            ("fractions", "fractions.Fraction(1, 2).limit_denominator(2) == 0.5", True),
            ("textwrap", "textwrap.dedent(' a')", "a"),
            ("time", "time.strptime('2000', '%Y')[0] + (time.perf_counter() > 0) + time.localtime(0)[2]", 2002),
            ("unicodedata", "unicodedata.normalize('NFKD', 'é')", "e\u0301"),
            ("queue", "queue.PriorityQueue().qsize()", 0),
        ],
    )
    def test_modules_that_only_compute_work_under_the_filter(self, module, expression, value):
        result = run(f"import {module}\ndef f():\n    return {expression}")
        assert (result.status, result.calls[0].value) == ("ran", value)

    @pytest.mark.parametrize(
        "source",
        [
            "import numpy as np\ndef f(): return 1",
            "from scipy.stats import norm\ndef f(): return 1",
            "def f():\n    import numpy\n    return 1",
            "def g(): import sympy.abc\ndef f(): return g()",
            "import xml.dom\ndef f(): return 1",
        ],
    )
    def test_a_missing_module_says_nothing_about_the_program(self, source):
        assert run(source).status == "unsupported_import"

    @pytest.mark.parametrize(
        ("source", "status"),
        [
            ("try:\n    import numpy\nexcept ImportError:\n    pass\ndef f(): return 1", "ran"),
            ("from math import no_such_name\ndef f(): return 1", "crashed"),
            ("import math\ndef f(): return math.no_such_name", "ran"),
        ],
    )
    def test_other_mistakes_over_imports_are_the_program_s(self, source, status):
        assert run(source).status == status

    def test_names_and_escapes_beyond_ascii_compile(self):
        result = run("def f():\n    größe = '\\N{DEGREE SIGN}'\n    return größe")
        assert (result.status, result.calls[0].value) == ("ran", "°")
        assert run("def f():\n    return '\\N{DEGREE SIGN}'").status == "ran"

    def test_are_the_same_in_every_run(self):
        source = "import random\ndef f():\n    return [list(set('a quick brown fox'.split())), random.random()]"
        assert run(source).calls == run(source).calls

    @pytest.mark.parametrize(
        ("returned", "error"),
        [
            ("float('nan')", "returned a number that is not finite"),
            ("float('inf')", "returned a number that is not finite"),
            ("10 ** 100000", "returned too large a number"),
            ("['x' * 70000] * 2", "returned too large a value"),
            ("list(range(20000))", "returned too large a value"),
            ("functools.reduce(lambda a, _: [a], range(500), 0)", "returned too deep a value"),
            ("functools.reduce(lambda a, _: [a, a], range(25), 0)", "returned too large a value"),
            ("cyclic()", "returned too deep a value"),
            ("{1: 2}", "returned a dict whose keys are not all str"),
            ("{1, 2}", "returned a set, which is no JSON value"),
            ("object()", "returned a object, which is no JSON value"),
            ("Always()", "returned a Always, which is no JSON value"),
            ("Posing()", "TypeError"),
        ],
    )
    def test_that_are_no_bounded_json_are_errors(self, returned, error):
        source = f"""
            import functools
            class Always:
                def __eq__(self, other): return True
                def __hash__(self): return 0
            class Posing:
                __class__ = property(lambda self: int)
            def cyclic():
                x = []
                x.append(x)
                return x
            def f():
                return {returned}
        """
        result = run(source)
        assert result.status == "ran" and result.calls[0].error == error
        assert not result.calls[0].gives(None)

    def test_subclasses_that_claim_to_equal_everything_count_as_what_they_hold(self):
        source = """
            class L(list):
                __eq__ = lambda self, other: True
                __iter__ = lambda self: iter([7])
            class I(int):
                __eq__ = lambda self, other: True
                __repr__ = lambda self: "7"
                __int__ = lambda self: 7
            def f():
                return L([I(1), 2])
        """
        call = run(source).calls[0]
        assert call.value == [1, 2] and not call.gives([7]) and not call.gives([7, 2])

    @settings(max_examples=10, deadline=None)
    @given(st.text(max_size=80))
    def test_any_text_is_a_program_or_a_crash(self, text):
        assert run_program(text, "f", [[]], QUICK).status in ("crashed", "no_function")


@contained
class TestHarm:
    @pytest.fixture(autouse=True)
    def _nothing_is_left_behind(self):
        me = psutil.Process()
        before = me.num_fds(), len(me.children())
        yield
        assert (me.num_fds(), len(me.children())) == before

    @pytest.mark.parametrize(
        "lines",
        [
            "open('/etc/passwd').read()",
            "open('FOLDER/here', 'w').write('x')",
            "open('here', 'w')",
            "import os; os.listdir('/')",
            "import os; os.fork()",
            "import os; os.execv('/bin/true', ['true'])",
            "import os; os.system('true') and open('x')",
            "import posix; posix.posix_spawn('/bin/true', ['true'], {})",
            "import os; os.kill(os.getppid(), 9)",
            "import os; os.kill(-1, 9)",
            "import os; os.kill(PARENT, 9)",
            "import os; os.pipe()",
            "import os; os.write(2, b'x')",
            "import os; os.dup(1)",
            "import os; os.read(1, 1)",
            "import os; os.setuid(0)",
            "import os; os.urandom(1)",
            "import os; os.stat('/')",
            "import time; time.sleep(100)",
            "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN); open('x')",
        ],
    )
    def test_what_the_kernel_refuses_is_said(self, lines, tmp_path):
        result = run(body(lines).replace("PARENT", str(os.getpid())).replace("FOLDER", str(tmp_path)))
        assert result.status == "refused"
        assert result.calls[0].error == "PermissionError"
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        "lines",
        [
            "import threading\nthreading.Thread(target=print).start()",
            "import _thread\n_thread.start_new_thread(print, ())",
            "import socket\nsocket.socket()",
            "import subprocess\nsubprocess.run(['true'])",
            "import multiprocessing",
        ],
    )
    def test_threads_and_what_was_never_loaded_are_errors_of_the_call(self, lines):
        result = run(body(lines))
        assert result.calls[0].error in ("RuntimeError", "ModuleNotFoundError")
        assert result.status == ("ran" if result.calls[0].error == "RuntimeError" else "unsupported_import")

    def test_raw_system_calls_are_filtered_too(self):
        lines = f"""
            import ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            found = []
            for name, given in (("socket", (2, 1, 0)), ("fork", ()), ("open", (b"/etc/passwd", 0)),
                                ("kill", ({os.getpid()}, 9)), ("unlink", (b"/x",)), ("dup2", (1, 9)),
                                ("prctl", (22, 0, 0, 0, 0)), ("setrlimit", (0, 0)), ("madvise", (0, 4096, 100))):
                found.append([getattr(libc, name)(*given), ctypes.get_errno()])
            return found
        """
        result = run(body(lines))
        assert result.status == "ran"
        assert result.calls[0].value == [[-1, 1]] * 9

    def test_a_loop_for_ever_ends_with_its_processor_time(self):
        result = run("def f(x):\n    while x: pass\n    return 1", [[0], [1], [0]])
        assert result.status == "timeout" and "processor" in result.detail
        assert [call.error for call in result.calls] == [None, "not reached", "not reached"]
        assert result.calls[0].value == 1

    def test_the_wall_clock_is_a_limit_of_its_own(self):
        result = run("while True: pass", limits=Limits(cpu_seconds=5, wall_seconds=0.3))
        assert result.status == "timeout" and result.detail == "longer than 0.3 s"

    @pytest.mark.parametrize(
        "lines", ["return len(bytearray(10**10))", "x = [0]\nwhile True: x += x", "return 'a' * 10**11"]
    )
    def test_memory_is_bounded(self, lines):
        result = run(body(lines))
        assert result.status == "memory" and result.calls[0].error == "MemoryError"

    def test_printing_is_lost_and_costs_nothing_here(self):
        result = run(body("for _ in range(100): print('x' * 10**6)\nreturn 5"))
        assert result.status == "ran" and result.calls[0].value == 5

    def test_writing_past_the_harness_is_bounded(self):
        result = run(body("import os\nwhile True: os.write(1, b'x' * 65536)"))
        assert result.status == "crashed" and "of output" in result.detail

    @pytest.mark.parametrize(
        "lines", ["raise SystemExit", "exit()", "import sys; sys.exit(0)", "raise KeyboardInterrupt"]
    )
    def test_leaving_by_exception_is_an_error_of_the_call(self, lines):
        result = run(body(lines))
        assert result.status == "ran" and result.calls[0].error in ("SystemExit", "NameError", "KeyboardInterrupt")

    @pytest.mark.parametrize("code", [0, 3])
    def test_ending_the_process_is_a_crash(self, code):
        result = run(f"import os\ndef f(x):\n    return os._exit({code}) if x else 1", [[0], [1], [0]])
        assert result.status == "crashed" and f"exit code {code}" in result.detail
        assert [call.error for call in result.calls] == [None, "not reached", "not reached"]

    @pytest.mark.parametrize(
        "lines",
        [
            "return f()",
            "import sys\nsys.setrecursionlimit(10**9)\nreturn f()",
            "import sys, re\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\nreturn repr(x)",
            "import ctypes\nctypes.string_at(0)",
        ],
    )
    def test_running_out_of_stack_is_contained(self, lines):
        result = run(body(lines))
        assert result.status in ("ran", "memory", "crashed", "timeout")
        assert result.calls[0].error in ("RecursionError", "MemoryError", "not reached", "PermissionError")

    def test_a_source_that_is_too_long_is_refused(self):
        assert run("x = 1\n" * 10_000).status == "refused"

    @pytest.mark.parametrize(
        ("source", "status", "detail"),
        [
            ("def f(:", "crashed", "SyntaxError when loaded"),
            ("x = 1 / 0\ndef f(): return 1", "crashed", "ZeroDivisionError when loaded"),
            ("def g(): return 1", "no_function", "no function"),
            ("f = 3", "no_function", "no function"),
            ("f = '('*1000\nexec('('*90000)", "crashed", "when loaded"),
            ("raise SystemExit\ndef f(): return 1", "crashed", "SystemExit when loaded"),
        ],
    )
    def test_programs_that_cannot_be_called(self, source, status, detail):
        result = run(source)
        assert result.status == status and detail in result.detail
        assert result.calls[0].error == "not reached"


def is_writable(result):
    """Whether everything that a rollout keeps of a result can be written as its line is, and stays short."""
    texts = [result.detail, *(call.error or "" for call in result.calls)]
    json.dumps({"detail": texts}, ensure_ascii=False).encode()
    return all(text.isprintable() and len(text) <= 160 for text in texts)


@contained
class TestTextsThatComeOut:
    @pytest.mark.parametrize(
        "name",
        [
            "'\\ud800'",
            "'é\\udfff' * 9",
            "'\\x1b[31m'",
            "'a\\nb\\u2028'",
            "'x' * 5000",
            "'\\ud800' * 5000",
            "'\\0'",
            "'\\u202e'",
        ],
    )
    @pytest.mark.parametrize("where", ["load", "call", "value"])
    def test_names_of_exceptions_and_types_can_be_written(self, name, where):
        base = "object" if where == "value" else "Exception"
        act = {"load": "raise E", "call": "def f(): raise E", "value": "def f(): return E()"}[where]
        result = run(f"class M(type): __name__ = {name}\nclass E({base}, metaclass=M): pass\n{act}")
        assert is_writable(result)
        assert result.status == ("crashed" if where == "load" else "ran")
        told = result.detail if where == "load" else result.calls[0].error
        assert told and (len(told) > 100 or "\\" in told or "x" in told)

    @pytest.mark.parametrize(
        "error", ["\\ud800", "\\u001b", "x" * 9000, {"a": [1]}, ["\\ud800"], 7, True, [[[[]]]] * 900]
    )
    def test_forged_errors_can_be_written(self, error):
        line = json.dumps({"loaded": False, "error": error}).replace("\\\\u", "\\u")
        result = run(
            textwrap.dedent(TestForging.FORGE) + f"\nsend({line!r})\nsend('{{\"end\": true}}')\nos._exit(0)", [[5]]
        )
        assert result.status == "crashed" and result.detail and is_writable(result)

    def test_reasons_of_the_system_can_be_written(self, monkeypatch):
        monkeypatch.setattr(sys, "executable", "/nowhere/\udcff\x1b")
        result = run_program("def f(): return 1", "f", [[]])
        assert result.status == "not_run" and is_writable(result)


@contained
class TestForging:
    EXPECTED = 42

    def test_printed_results_are_not_results(self):
        lines = 'import os\nos.write(1, b\'\\n0123 {"value": 42, "error": null}\\n{"end": true}\\n\')\nos._exit(0)'
        result = run(body(lines))
        assert result.status == "crashed" and not result.calls[0].gives(self.EXPECTED)

    @pytest.mark.parametrize(
        "source",
        [
            "import json\njson.dumps = lambda *a, **k: '42'\njson.JSONEncoder.encode = lambda *a: '{\"value\": 42}'",
            "import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.str = lambda *a: '42'",
            "import sys\nsys.modules.clear()",
            "import __main__, sys\n__main__.call = __main__.plain = lambda *a: 42",
            "import os\nos.write = lambda fd, data: len(data)\nos._exit = lambda code: None",
            "import types\ntypes.FunctionType.__call__ = None",
        ],
    )
    def test_patching_what_the_harness_uses_does_not_make_a_wrong_value_right(self, source):
        result = run(source + "\ndef f():\n    return 41")
        assert not result.calls[0].gives(self.EXPECTED)
        assert result.status in ("ran", "crashed")

    def test_the_nonce_is_not_in_the_program_s_namespace(self):
        source = "def f():\n    import __main__\n    return [sorted(globals()), sorted(vars(__main__))]"
        names, harness = run(source).calls[0].value
        assert names == ["__builtins__", "__doc__", "__loader__", "__name__", "__package__", "__spec__", "f"]
        assert all(name.startswith("__") for name in harness)

    FORGE = """
        import os, sys
        frame = sys._getframe()
        while frame is not None and "request" not in frame.f_locals:
            frame = frame.f_back
        request = frame.f_locals["request"]
        def send(text):
            os.write(1, ("\\n" + request["nonce"] + " " + text + "\\n").encode())
        def f(x):
            return 1
    """

    def test_a_program_that_digs_finds_arguments_and_no_expected_values(self):
        result = run(textwrap.dedent(self.FORGE) + "\ndef f(x):\n    return sorted(request)", [[5]])
        wanted = ["calls", "cpu_seconds", "filter", "function", "memory_bytes", "nonce", "source"]
        assert result.calls[0].value == wanted

    @pytest.mark.parametrize(
        "text",
        [
            '{"not_run": "no sandbox here"}',
            '{"ready": true}',
            "[" * 100_000,
            "1" * 100_000,
            '{"value": ' + "1" * 5000 + ', "error": null}',
            '{"value": NaN, "error": null}',
            '{"value": 1e999, "error": null}',
            '{"error": {"a": [1]}}',
            "{}",
            '"text"',
            "\\ud800",
        ],
    )
    def test_lines_with_the_nonce_are_read_with_suspicion(self, text):
        loaded = 'send(\'{"loaded": true, "error": null, "found": true}\')'
        source = f"{textwrap.dedent(self.FORGE)}\n{loaded}\nsend({text!r})\nos._exit(0)"
        result = run(source, [[5], [6]], Limits(cpu_seconds=1, wall_seconds=3.0, source_characters=200_000))
        assert result.status == "crashed"
        assert not any(call.gives(self.EXPECTED) for call in result.calls)

    END = """
        send('{"loaded": true, "error": null, "found": true}')
        send('{"value": 42, "error": null}')
        send('{"end": true}')
    """

    @pytest.mark.parametrize(
        ("after", "status"),
        [
            ("while True: pass", "timeout"),
            ("os._exit(3)", "crashed"),
            ("import ctypes\nctypes.string_at(0)", "crashed"),
            ("while True: os.write(1, b'x' * 65536)", "crashed"),
        ],
    )
    def test_a_forged_end_is_none_while_the_process_goes_on_or_fails(self, after, status):
        result = run(textwrap.dedent(self.FORGE) + textwrap.dedent(self.END) + after, [[5]])
        assert result.status == status

    def test_a_forged_end_is_none_within_the_wall_clock_either(self):
        source = textwrap.dedent(self.FORGE) + textwrap.dedent(self.END) + "while True: pass"
        result = run(source, [[5]], Limits(cpu_seconds=5, wall_seconds=0.3))
        assert result.status == "timeout" and result.detail == "longer than 0.3 s"

    def test_it_cannot_claim_that_nothing_was_run(self):
        result = run(textwrap.dedent(self.FORGE) + '\nsend(\'{"not_run": "x"}\')', [[5]])
        assert result.status != "not_run"


class TestNotRun:
    def test_another_system_runs_nothing(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "darwin")
        result = run_program("def f(): return 1", "f", [[]])
        assert result.status == "not_run" and "darwin" in result.detail
        assert result.calls[0].error == "not reached"

    def test_another_machine_runs_nothing(self, monkeypatch):
        monkeypatch.setattr("platform.machine", lambda: "riscv64")
        result = run_program("def f(): return 1", "f", [[]])
        assert result.status == "not_run" and "riscv64" in result.detail

    def test_an_interpreter_that_cannot_start_runs_nothing(self, monkeypatch, tmp_path):
        monkeypatch.setattr(program, "why_not", lambda: None)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
        assert run_program("def f(): return 1", "f", [[]]).status == "not_run"
        monkeypatch.setattr(sys, "executable", "/bin/false")
        result = run_program("def f(): return 1", "f", [[]])
        assert result.status == "not_run" and "exit code 1" in result.detail

    @contained
    @pytest.mark.parametrize(
        ("lines", "said"),
        [
            (struct.pack("=HBBI", 0x06, 0, 0, ALLOW), "does not enforce it"),
            (b"\xff" * 8, "the kernel refuses a seccomp filter"),
        ],
    )
    def test_a_kernel_that_does_not_take_or_enforce_the_filter_runs_nothing(self, monkeypatch, lines, said):
        monkeypatch.setattr(program, "build_filter", lambda machine: lines)
        result = run_program("def f(): return 1", "f", [[]])
        assert result.status == "not_run" and said in result.detail

    @contained
    def test_a_limit_that_cannot_be_set_runs_nothing(self):
        result = run_program("def f(): return 1", "f", [[]], Limits(memory_bytes=2**70))
        assert result.status == "not_run"


@contained
def test_a_program_takes_less_than_a_tenth_of_a_second():
    def used():
        of_children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + of_children.ru_utime + of_children.ru_stime

    began = used()
    for _ in range(5):
        assert run("import math, re, statistics\ndef f(x):\n    return x", [[1]] * 8).status == "ran"
    assert (used() - began) / 5 < 0.1


@contained
def test_programs_can_run_side_by_side():
    results = {}
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: run(f"def f():\n    return {n}").calls[0].value}))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: n for n in range(6)}
