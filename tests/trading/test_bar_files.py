import gzip
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading.bars import MISSING, BarColumns, Timeframe, from_epoch_us, to_epoch_us
from trading.errors import ConfigurationError
from trading.feeds.bar_files import FileBars, read_bars
from trading.settings import TimestampMeaning

MINUTE = Timeframe.MINUTE_1
OPEN = datetime(2011, 1, 18, 14, 30, tzinfo=UTC)
US = 1_000_000


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def spy(path: Path, timeframe: Timeframe = MINUTE, timezone: str | None = None) -> BarColumns:
    return read_bars(path, timeframe, "SPY", timezone)["SPY"]


def moments(bars: BarColumns) -> list[datetime]:
    return [from_epoch_us(time) for time in bars.time]


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "bars.csv"


def test_a_plain_csv_becomes_exact_columns(csv: Path) -> None:
    written(
        csv,
        "timestamp,open,high,low,close,volume",
        "2011-01-18T14:30:00Z,129.34,129.4,129.3,129.35,1200",
        "2011-01-18T14:31:00Z,129.35,129.35,129.31,129.32,800",
    )
    bars = spy(csv)
    assert moments(bars) == [OPEN, OPEN + timedelta(minutes=1)]
    assert bars.open.tolist() == [129_340_000, 129_350_000]
    assert bars.close.tolist() == [129_350_000, 129_320_000]
    assert bars.volume.tolist() == [1200, 800]


@pytest.mark.parametrize(
    "header",
    [
        "Time,Ticker,O,H,L,C,V",
        "DATETIME,Symbol,Open,High,Low,Close,Volume",
        " bar_time ,SYMBOL,open,high,low,close,Vol",
        "Date,symbol,o,high,l,close,v",
    ],
)
def test_usual_column_names_are_understood_in_any_case(csv: Path, header: str) -> None:
    written(csv, header, "2011-01-18T14:30:00Z,spy,10,11,9,10.5,7")
    bars = read_bars(csv, MINUTE)
    assert list(bars) == ["SPY"]
    assert bars["SPY"].high.tolist() == [11_000_000]


def test_a_zipped_csv_reads_like_a_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv.gz"
    path.write_bytes(gzip.compress(b"timestamp,open,high,low,close\n2011-01-18T14:30:00Z,1,2,0.5,1\n", mtime=0))
    assert spy(path).low.tolist() == [500_000]


def test_semicolons_and_a_byte_order_mark_are_understood(csv: Path) -> None:
    csv.write_text("\ufefftimestamp;open;high;low;close\n2011-01-18T14:30:00Z;1;2;0.5;1\n", encoding="utf-8")
    assert spy(csv).close.tolist() == [1_000_000]


def test_an_unnamed_index_written_by_pandas_is_the_time(csv: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"open": [1.0], "high": [1.0], "low": [1.0], "close": [1.0]}, index=pd.DatetimeIndex([OPEN]).as_unit("us")
    )
    frame.to_csv(csv)
    frame.to_parquet(tmp_path / "bars.parquet")
    assert moments(spy(csv)) == moments(spy(tmp_path / "bars.parquet")) == [OPEN]


@pytest.mark.parametrize("factor", [1, 1_000, US, 1_000 * US])
def test_epoch_numbers_are_told_apart_by_their_size(csv: Path, factor: int) -> None:
    seconds = to_epoch_us(OPEN) // US
    written(csv, "time,open,high,low,close", *(f"{(seconds + 60 * i) * factor},1,1,1,1" for i in range(3)))
    assert moments(spy(csv)) == [OPEN + timedelta(minutes=i) for i in range(3)]


def test_a_count_of_rows_is_no_time(csv: Path) -> None:
    written(csv, "time,open,high,low,close", "1,1,1,1,1", "2,1,1,1,1")
    with pytest.raises(ConfigurationError, match="is no moment"):
        spy(csv)


def test_epoch_numbers_of_two_units_are_refused(csv: Path) -> None:
    written(csv, "time,open,high,low,close", "1295361000,1,1,1,1", "1295361060000,1,1,1,1")
    with pytest.raises(ConfigurationError, match="mixes units"):
        spy(csv)


@pytest.mark.parametrize(
    ("day", "clock"),
    [
        ("2011-01-18", "09:30"),
        ("20110118", "0930"),
        ("20110118", "930"),
        ("01/18/2011", "09:30:00"),
        ("18/1/2011", "9:30"),
    ],
)
def test_date_and_time_in_two_columns_are_one_moment(csv: Path, day: str, clock: str) -> None:
    if clock == "9:30":
        clock = "09:30"
    written(csv, "Date,Time,open,high,low,close", f"{day},{clock},1,1,1,1")
    assert moments(spy(csv, timezone="America/New_York")) == [OPEN]


def test_parquet_dates_and_times_in_two_columns_are_one_moment(tmp_path: Path) -> None:
    table = pa.table(
        {"date": [date(2011, 1, 18)], "time": [time(9, 30)], **{name: [1.0] for name in ("o", "h", "l", "c")}}
    )
    pq.write_table(table, tmp_path / "bars.parquet")
    assert moments(spy(tmp_path / "bars.parquet", timezone="America/New_York")) == [OPEN]


def test_a_date_that_may_be_read_two_ways_is_refused(csv: Path) -> None:
    written(csv, "timestamp,open,high,low,close", "01/02/2011 09:30,1,1,1,1")
    with pytest.raises(ConfigurationError, match=r"01/02/2011 09:30.*month first and day first"):
        spy(csv, timezone="UTC")


def test_times_without_a_zone_are_refused_until_one_is_given(csv: Path) -> None:
    written(csv, "timestamp,open,high,low,close", "2011-01-18 09:30:00,1,1,1,1")
    with pytest.raises(ConfigurationError, match=r"2011-01-18 09:30:00.*--tz.*America/New_York"):
        spy(csv)
    assert moments(spy(csv, timezone="America/New_York")) == [OPEN]


def test_the_files_own_zone_wins_over_a_given_one(csv: Path) -> None:
    written(csv, "timestamp,open,high,low,close", "2011-01-18T09:30:00-05:00,1,1,1,1", "2011-01-18T14:31:00Z,1,1,1,1")
    assert moments(spy(csv, timezone="Asia/Tokyo"))[0] == OPEN


def test_a_file_in_which_only_some_times_have_a_zone_is_refused(csv: Path) -> None:
    written(csv, "timestamp,open,high,low,close", "2011-01-18T14:30:00Z,1,1,1,1", "2011-01-18T14:31:00,1,1,1,1")
    with pytest.raises(ConfigurationError, match=r"2011-01-18T14:31:00.* in row 2"):
        spy(csv)


@pytest.mark.parametrize("local", ["2024-11-03 01:30:00", "2024-03-10 02:30:00"])
def test_local_times_at_which_the_clocks_change_are_refused_by_value(csv: Path, local: str) -> None:
    written(csv, "timestamp,open,high,low,close", f"{local},1,1,1,1")
    with pytest.raises(ConfigurationError, match=rf"{local} in row 1 .*America/New_York"):
        spy(csv, timezone="America/New_York")


def test_an_unknown_zone_is_refused_by_name(csv: Path) -> None:
    written(csv, "timestamp,open,high,low,close", "2011-01-18 09:30:00,1,1,1,1")
    with pytest.raises(ConfigurationError, match="'New York'"):
        spy(csv, timezone="New York")


def test_nanosecond_parquet_times_come_out_in_microseconds(tmp_path: Path) -> None:
    for zone in ("UTC", None):
        times = pa.array([to_epoch_us(OPEN) * 1000], pa.timestamp("ns", zone))
        table = pa.table({"timestamp": times, **{name: [1.0] for name in ("open", "high", "low", "close")}})
        pq.write_table(table, tmp_path / "bars.parquet")
        assert moments(spy(tmp_path / "bars.parquet", timezone="UTC")) == [OPEN]


def test_times_of_closes_are_moved_to_the_opens(csv: Path) -> None:
    written(csv, "timestamp,open,high,low,close", "2011-01-18T14:35:00Z,1,1,1,1", "2011-01-18T14:40:00Z,1,1,1,1")
    bars = read_bars(csv, Timeframe.MINUTE_5, "SPY", timestamp=TimestampMeaning.CLOSE)["SPY"]
    assert moments(bars) == [OPEN, OPEN + timedelta(minutes=5)]


def test_what_is_no_number_is_missing_and_volume_may_be_absent(csv: Path) -> None:
    written(
        csv,
        "timestamp,open,high,low,close,volume",
        "2011-01-18T14:30:00Z,,NaN,inf,-inf,",
        "2011-01-18T14:31:00Z,None,null,N/A,1e300,-1",
    )
    bars = spy(csv)
    for column in (bars.open, bars.high, bars.low, bars.close, bars.volume):
        assert column.tolist() == [MISSING, MISSING]
    written(csv, "timestamp,open,high,low,close", "2011-01-18T14:30:00Z,1,1,1,1")
    assert spy(csv).volume.tolist() == [MISSING]


def test_a_word_in_a_price_column_is_refused_with_row_and_value(csv: Path) -> None:
    good = "2011-01-18T14:30:00Z,1,1,1,1"
    written(csv, "timestamp,open,high,low,Close", good, "2011-01-18T14:31:00Z,,1,1,abc")
    with pytest.raises(ConfigurationError, match=r"'abc' in the column Close, row 2, is not a number"):
        spy(csv)


def test_a_word_deep_in_a_long_file_is_refused_with_its_row_too(csv: Path) -> None:
    lines = [f"{to_epoch_us(OPEN) // US + 60 * i},1,1,1,1" for i in range(60_000)]
    lines[55_554] = lines[55_554][:-1] + "x"
    written(csv, "time,open,high,low,close", *lines)
    with pytest.raises(ConfigurationError, match=r"'x' in the column close, row 55555"):
        spy(csv)


def test_prices_may_be_decimals_or_text_in_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {
            "timestamp": pa.array([OPEN], pa.timestamp("us", "UTC")),
            "open": pa.array([Decimal("129.3456789")], pa.decimal128(20, 7)),
            "high": ["129.340001"],
            "low": pa.array([129], pa.int32()),
            "close": pa.array([None], pa.float32()),
        }
    )
    pq.write_table(table, tmp_path / "bars.parquet")
    bars = spy(tmp_path / "bars.parquet")
    assert (bars.open[0], bars.high[0], bars.low[0], bars.close[0]) == (129_345_679, 129_340_001, 129_000_000, MISSING)


def test_a_file_that_names_no_symbol_asks_for_one(csv: Path) -> None:
    written(csv, "timestamp,open,high,low,close", "2011-01-18T14:30:00Z,1,1,1,1")
    with pytest.raises(ConfigurationError, match="--symbol SPY"):
        read_bars(csv, MINUTE)


def test_several_symbols_are_told_apart_and_na_is_one_of_them(csv: Path) -> None:
    row = "2011-01-18T14:3{},{},1,1,1,{}"
    written(
        csv,
        "timestamp,symbol,open,high,low,close",
        row.format("0:00Z", "NA", 1),
        row.format("0:00Z", "spy", 2),
        row.format("1:00Z", "NA", 3),
    )
    bars = read_bars(csv, MINUTE)
    assert {symbol: columns.close.tolist() for symbol, columns in bars.items()} == {"NA": [US, 3 * US], "SPY": [2 * US]}
    with pytest.raises(ConfigurationError, match=r"NA, SPY.*QQQ is not one of them"):
        read_bars(csv, MINUTE, "QQQ")


def test_a_row_without_its_symbol_is_refused(csv: Path) -> None:
    written(csv, "timestamp,symbol,open,high,low,close", "2011-01-18T14:30:00Z,,1,1,1,1")
    with pytest.raises(ConfigurationError, match="row 1, is not a symbol"):
        read_bars(csv, MINUTE)


def test_duplicates_and_disorder_stay_for_the_validator(csv: Path) -> None:
    minutes = [0, 1, 1, 3, 2, 4]
    written(csv, "timestamp,open,high,low,close", *(f"2011-01-18T14:3{minute}:00Z,1,1,1,1" for minute in minutes))
    assert [moment.minute - 30 for moment in moments(spy(csv))] == minutes


def test_a_file_that_runs_newest_first_is_turned_round(csv: Path) -> None:
    written(
        csv, "timestamp,open,high,low,close", *(f"2011-01-18T14:3{minute}:00Z,{minute},9,1,1" for minute in (3, 2, 1))
    )
    assert spy(csv).open.tolist() == [1 * US, 2 * US, 3 * US]


@pytest.mark.parametrize(("seconds", "words"), [(86_400, "1 day"), (1, "1 second"), (300, "5 minutes")])
def test_bars_of_another_timeframe_are_refused_with_the_spacing_found(csv: Path, seconds: int, words: str) -> None:
    start = to_epoch_us(OPEN) // US
    written(csv, "time,open,high,low,close", *(f"{start + seconds * i},1,1,1,1" for i in range(10)))
    with pytest.raises(ConfigurationError, match=f"SPY are {words} apart, which is not the timeframe 1min"):
        spy(csv)


def test_minutes_with_holes_are_still_minutes(csv: Path) -> None:
    start = to_epoch_us(OPEN) // US
    written(csv, "time,open,high,low,close", *(f"{start + 60 * i},1,1,1,1" for i in (0, 7, 9, 30, 31, 45, 100, 390)))
    assert len(spy(csv)) == 8


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.csv", None, "does not exist"),
        ("empty.csv", b"", "is empty"),
        ("empty.parquet", b"", "is empty"),
        ("header.csv", b"timestamp,open,high,low,close\n", "no bars"),
        ("bars.xlsx", b"x", "neither CSV nor Parquet"),
        ("text.parquet", b"timestamp,open,high,low,close\n1,1,1,1,1\n" * 9, "cannot be read as Parquet"),
        (
            "cut.csv.gz",
            gzip.compress(b"timestamp,open,high,low,close\n" + b"1295361000,1,1,1,1\n" * 99, mtime=0)[:-20],
            "cannot be read as CSV",
        ),
        ("ragged.csv", b"timestamp,open,high,low,close\n1295361000,1,1,1,1\n1295361060,1\n", "cannot be read as CSV"),
        ("binary.csv", b"PAR1\xff\xfe\x00\x01\n\x80", "cannot be read as CSV"),
        (
            "few.csv",
            b"timestamp,open,close,colour\n1,1,1,red\n",
            "lacks the columns high, low; found timestamp, open, close, colour",
        ),
        ("timeless.csv", b"open,high,low,close\n1,1,1,1\n", "lacks the column timestamp"),
        ("twice.csv", b"timestamp,open,high,low,close,Close\n1,1,1,1,1,1\n", "2 columns for the close: close, Close"),
        ("words.csv", b"timestamp,open,high,low,close\nsoon,1,1,1,1\n", "'soon' in row 1 is no moment"),
        ("nowhen.csv", b"timestamp,open,high,low,close\n1295361000,1,1,1,1\n,1,1,1,1\n", "row 2 has no time"),
    ],
)
def test_a_file_that_is_no_file_of_bars_is_refused_in_one_paragraph(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words) as refusal:
        spy(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_folder_and_a_cut_parquet_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a folder"):
        spy(tmp_path)
    whole = tmp_path / "bars.parquet"
    pd.DataFrame({"timestamp": [OPEN], "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0}).to_parquet(whole)
    whole.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(ConfigurationError, match="cut short, damaged"):
        spy(whole)


def test_a_file_is_a_source_of_bars(csv: Path) -> None:
    written(csv, "timestamp,open,high,low,close", *(f"2011-01-18T14:3{minute}:00Z,1,1,1,1" for minute in (2, 0, 1)))
    source = FileBars(csv, MINUTE, "SPY")
    assert source.symbols() == ("SPY",)
    assert source.span("SPY") == (OPEN, OPEN + timedelta(minutes=2))
    assert source.span("QQQ") is None
    # The end is not included; the order is the file's.
    assert moments(source.between("SPY", OPEN, OPEN + timedelta(minutes=2))) == [OPEN, OPEN + timedelta(minutes=1)]
    assert len(source.between("QQQ", OPEN, OPEN + timedelta(days=1))) == 0


prices = st.integers(1, 10**13)
rows = st.lists(st.tuples(prices, prices, prices, prices, st.integers(0, 10**12)), min_size=1, max_size=20)


@given(rows)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bars_written_as_text_or_parquet_come_back_to_the_micro(
    tmp_path: Path, values: list[tuple[int, int, int, int, int]]
) -> None:
    micros = np.array(values, dtype=np.int64).T
    names = ("open", "high", "low", "close")
    times = [OPEN + timedelta(minutes=i) for i in range(len(values))]
    texts = {name: [str(Decimal(int(value)).scaleb(-6)) for value in micros[i]] for i, name in enumerate(names)}
    frame = pd.DataFrame({"timestamp": times, **texts, "volume": micros[4]})
    frame.to_csv(tmp_path / "bars.csv", index=False)
    frame.astype(dict.fromkeys(names, "float64")).to_parquet(tmp_path / "bars.parquet")
    for path in (tmp_path / "bars.csv", tmp_path / "bars.parquet"):
        bars = spy(path)
        assert moments(bars) == times
        for i, column in enumerate((bars.open, bars.high, bars.low, bars.close, bars.volume)):
            assert column.tolist() == micros[i].tolist()
