import gc
import weakref

from tasks.collection_pauses import no_long_pauses


class Ring:
    """Refers to itself, so that only the collector can end it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_was_there_before_is_left_alone_and_what_comes_later_is_collected() -> None:
    there_before = Ring()
    before = weakref.ref(there_before)
    with no_long_pauses():
        assert gc.get_freeze_count() > 0
        made = weakref.ref(Ring())
        del there_before
        gc.collect()
        assert made() is None
        assert before() is not None
    gc.collect()
    assert (gc.get_freeze_count(), before()) == (0, None)
