"""Trace files: the kinds that are read, and the line, field and value that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from advisor.plan.traces import read
from ridgeline.errors import Misconfigured
from tests.advisor.plan.asked import answered, run

DATA = Path(__file__).parents[4] / "shared" / "data"
GENERIC = "timestamp,input_tokens,output_tokens\n"


def written(folder: Path, text: str, name: str = "trace.csv") -> Path:
    """A file with that text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        GENERIC + "10,100,5\n12.5,200,7\n",
        "id,Output_Tokens,TIMESTAMP,input_tokens\r\na,5,10,100\r\nb,7,12.5,200\r\n\r\n",
        (
            "\ufeffTIMESTAMP,ContextTokens,GeneratedTokens\n"
            "2023-11-16 18:00:10.0000000,100,5\n2023-11-16T18:00:12.5Z,200,7\n"
        ),
        (
            '{"timestamp": 10000, "input_length": 100, "output_length": 5, "hash_ids": [1]}\n'
            '{"timestamp": 12500, "input_length": 200, "output_length": 7, "hash_ids": [2]}\n'
        ),
        GENERIC + "12.5,200,7\n10,100,5\n",
    ],
    ids=["generic", "columns in any order", "azure", "mooncake", "unsorted"],
)
def test_each_kind_reads_to_the_same_requests(tmp_path: Path, text: str) -> None:
    """Kind, column order, letter case, byte-order mark and order of rows do not matter."""
    trace = read(written(tmp_path, text))

    assert [0.0, 2.5] == trace.arrival_seconds.tolist()
    assert [100, 200] == trace.prompt_tokens.tolist()
    assert [5, 7] == trace.output_tokens.tolist()
    assert 0.4 == pytest.approx(trace.requests_per_second)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GENERIC + "1,10,5\n2,-4,5\n", "line 3: input_tokens='-4'; allowed: a whole number from 1"),
        (GENERIC + "1,10,5\n\n2,10\n", "line 4: output_tokens=None; allowed: a whole number"),
        (GENERIC + "noon,10,5\n", "line 2: timestamp='noon'; allowed: a number, or date and time"),
        (GENERIC + "inf,10,5\n", "line 2: timestamp='inf'"),
        (GENERIC + "1,10,5\n", "has 1 requests at one instant"),
        (GENERIC + "1,10,5\n1,10,5\n", "has 2 requests at one instant"),
        ("", "is empty or begins so; allowed: an Azure LLM CSV"),
        ("timestamp,output_tokens\n1,2\n", "lacks the column input_tokens; allowed: an Azure"),
        ("a,b\n1,2\n", "begins with 'a,b\\\\n'; allowed: an Azure LLM CSV"),
        ('{"timestamp": 1, "input_length": 5', "line 1: input_length=None"),
        (
            '{"timestamp": 1, "input_length": 5, "output_length": 1, "hash_ids": 3}',
            "line 1: hash_ids=3; allowed: a list of whole numbers",
        ),
        ('{"timestamp": 1, "input_length": 5, "output_length": 1}\n[1]\n', "line 2: input_length"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, text: str, said: str) -> None:
    """The message has line, field and value, and what is allowed."""
    with pytest.raises(Misconfigured, match=f"--trace: .*{said}"):
        read(written(tmp_path, text))


def test_what_is_no_text_or_no_file_is_said(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 and paths that do not exist are mistakes with a name."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81" * 100)

    with pytest.raises(Misconfigured, match="is not text; allowed"):
        read(tmp_path / "binary")
    with pytest.raises(Misconfigured, match=r"cannot read .*absent: No such file"):
        read(tmp_path / "absent")


def test_only_leading_known_blocks_count_as_reused(tmp_path: Path) -> None:
    """A prefix cache finds blocks up to the first unknown one, and no more than the prompt."""
    row = '{{"timestamp": {}, "input_length": {}, "output_length": 1, "hash_ids": {}}}\n'
    rows = [(0, 1024, [1, 2]), (1, 1024, [1, 9]), (2, 1024, [8, 2]), (3, 300, [1])]
    trace = read(written(tmp_path, "".join(row.format(*r) for r in rows)))

    assert (512 + 0 + 300) / (3 * 1024 + 300) == pytest.approx(trace.reused_prompt_ratio)


@pytest.mark.skipif(not DATA.exists(), reason="../shared/data is absent")
def test_published_traces_read_whole() -> None:
    """Azure's and Mooncake's files have the number of requests their READMEs state."""
    azure = read(DATA / "azure-llm-2023" / "AzureLLMInferenceTrace_conv.csv")
    mooncake = read(DATA / "mooncake" / "conversation_trace.jsonl")

    assert 19_366 == len(azure.arrival_seconds)
    assert 12_031 == len(mooncake.arrival_seconds)
    assert np.all(np.diff(azure.arrival_seconds) >= 0)
    assert azure.reused_prompt_ratio is None
    assert 0.3 < (mooncake.reused_prompt_ratio or 0) < 0.5  # Mooncake, FAST'25: about 40 % reuse


@pytest.mark.parametrize("command", ["capacity", "disaggregate", "burst"])
def test_milliseconds_are_not_taken_for_seconds(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Milliseconds of the epoch would make a thousandth of the rate, and a plan of no engine."""
    path = tmp_path / "t.csv"
    rows = (f"{1_790_000_000_000 + n * 500},1000,100" for n in range(100))
    path.write_text("timestamp,input_tokens,output_tokens\n" + "\n".join(rows))
    code, _, err = run(capsys, command, "--trace", str(path))

    assert 2 == code
    assert "line 2: timestamp='1790000000000'; allowed: seconds, not milliseconds" in err


def test_a_request_an_hour_needs_an_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In most minutes nothing comes: the mean is what is carried, not those minutes' nothing."""
    path = tmp_path / "t.csv"
    rows = (f"{n * 3600},1000,100" for n in range(48))
    path.write_text("timestamp,input_tokens,output_tokens\n" + "\n".join(rows))

    assert 1 <= answered(capsys, "capacity", "--trace", str(path))["numbers"]["engines"]["low"]


def test_a_trace_knows_its_hour_of_day(tmp_path: Path) -> None:
    """A file that begins at half past nine does not begin at midnight."""
    path = tmp_path / "t.csv"
    rows = (f"2026-09-21T09:{30 + n}:00,1000,100" for n in range(20))
    path.write_text("timestamp,input_tokens,output_tokens\n" + "\n".join(rows))

    assert 9.5 * 3600 == read(path).first_second_of_day
