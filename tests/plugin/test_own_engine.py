"""``tpf.engine``: an engine that nobody knows, observed in one test."""

LIBRARY = """
    import time

    class Shouter:
        def run(self, prompt):
            time.sleep(0.02)
            return prompt.upper().split()

        def stream(self, prompt):
            for word in self.run(prompt):
                yield word
"""


def write_library(suite):
    suite.write(LIBRARY, "shout")


def test_a_test_observes_what_it_calls(suite):
    write_library(suite)
    result = suite.run(
        """
        from shout import Shouter

        @pytest.mark.tpf(max_output_tokens=3)
        def test_counted(tpf):
            with tpf.engine(Shouter, "run", tokens=len, prompt_tokens=lambda words, prompt: len(prompt), model="shouter-1"):
                assert Shouter().run("count to three") == ["COUNT", "TO", "THREE"]
            Shouter().run("and no more than that")

        @pytest.mark.tpf(rounds=3, warmup=1)
        def test_in_rounds(tpf):
            with tpf.engine(Shouter, "stream", tokens=lambda word: 1):
                assert tpf(lambda: list(Shouter().stream("a b"))) == ["A", "B"]
            assert tpf.result.service.ttft_s.p50 >= 0.02
        """
    )
    result.assert_outcomes(passed=2)
    counted, in_rounds = suite.report()["tests"]
    workload = counted["workload"]
    assert (workload["engine"], workload["model"]["name"], workload["token_source"]) == ("Shouter.run", "shouter-1", "declared")
    assert (workload["output_tokens"], workload["prompt_tokens"], workload["requests"]) == (3, 14, 1)
    assert in_rounds["workload"]["output_tokens"] == 2 * in_rounds["workload"]["requests"]


def test_a_mistake_is_one_line(suite):
    write_library(suite)
    result = suite.run(
        """
        from shout import Shouter

        @pytest.mark.tpf
        def test_misspelt(tpf):
            with tpf.engine(Shouter, "rnu", tokens=len):
                Shouter().run("a")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["tpf: engine: Shouter.rnu can't be observed: there is no such method"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_replies_that_cannot_be_counted_say_why(suite):
    write_library(suite)
    result = suite.run(
        """
        from shout import Shouter

        @pytest.mark.tpf
        def test_uncounted(tpf):
            with tpf.engine(Shouter, "run", tokens=lambda reply: reply.tokens):
                Shouter().run("a")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Shouter.run: the tokens of a call could not be counted: AttributeError: *'tokens', of a list*"])


def test_off_observes_nothing(suite):
    write_library(suite)
    result = suite.run(
        """
        from shout import Shouter

        @pytest.mark.tpf
        def test_plain(tpf):
            run = Shouter.run
            with tpf.engine(Shouter, "run", tokens=len):
                assert Shouter.run is run
        """,
        "--tpf-off",
    )
    result.assert_outcomes(passed=1)
