"""What every store does, whatever is behind it: subclassed by the tests of each, which give the `store`."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from sapflow.errors import CorruptObject, ObjectMissing, StoreError
from sapflow.objects.stores.protocol import Buffer, Store

MEGABYTES_3 = bytes(range(256)) * (3 << 12)


def address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).ctypes.data)


class StoreContract:
    def test_what_is_created_is_read_back(self, store: Store) -> None:
        assert store.create("jobs/a/spec.json", b"content")
        assert bytes(store.read("jobs/a/spec.json")) == b"content"

    def test_parts_of_any_kind_are_written_one_after_the_other(self, store: Store) -> None:
        array = np.arange(100_000, dtype="<f4")
        parts: list[Buffer] = [
            b"head",
            bytearray(b"er"),
            memoryview(b""),
            memoryview(array),
            memoryview(array[:0]),
        ]
        store.create("key", parts)
        assert bytes(store.read("key")) == b"header" + array.tobytes()

    def test_more_parts_than_one_system_call_takes_arrive_in_order(self, store: Store) -> None:
        parts = [f"{number};".encode() for number in range(3000)]
        store.create("key", parts)
        assert bytes(store.read("key")) == b"".join(parts)

    def test_an_empty_object_is_an_object(self, store: Store) -> None:
        assert store.create("empty", b"")
        assert store.exists("empty")
        assert len(store.read("empty")) == 0
        with store.open("empty") as reader:
            assert reader.size == 0
            assert len(reader.next(0)) == 0

    def test_a_durable_object_is_created_like_any_other(self, store: Store) -> None:
        assert store.create("jobs/a/commits/1.json", b"first", durable=True)
        assert not store.create("jobs/a/commits/1.json", b"second", durable=True)
        assert bytes(store.read("jobs/a/commits/1.json")) == b"first"

    @pytest.mark.parametrize("size", [10, len(MEGABYTES_3)])
    def test_the_second_writer_loses_and_changes_nothing(self, store: Store, size: int) -> None:
        first = MEGABYTES_3[:size]
        assert store.create("key", first)
        assert not store.create("key", bytes(size))
        assert not store.create("key", first + b"longer")
        assert store.read("key") == first

    def test_one_of_many_writers_at_once_wins_and_its_content_stands(self, store: Store) -> None:
        writers = 8
        barrier = Barrier(writers)

        def write(writer: int) -> bool:
            barrier.wait()
            return store.create("jobs/deep/folder/key", bytes([writer]) * 200_000)

        with ThreadPoolExecutor(writers) as threads:
            won = list(threads.map(write, range(writers)))
        assert sum(won) == 1
        assert store.read("jobs/deep/folder/key") == bytes([won.index(True)]) * 200_000

    def test_threads_share_a_store_without_mixing_their_objects(self, store: Store) -> None:
        def use(thread: int) -> bool:
            for turn in range(5):
                key, content = f"work/{thread}/{turn}", f"{thread}-{turn}".encode() * 10_000
                assert store.create(key, content)
                assert store.read(key) == content
                store.delete([key])
            return True

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(use, range(8)))

    @pytest.mark.parametrize(
        ("start", "count"), [(0, 5), (3, 4), (64, 1000), (4096, 70_000), (2_500_000, None), (100, 2_600_000)]
    )
    def test_a_range_is_read(self, store: Store, start: int, count: int | None) -> None:
        store.create("key", MEGABYTES_3)
        stop = len(MEGABYTES_3) if count is None else start + count
        assert bytes(store.read("key", start, count)) == MEGABYTES_3[start:stop]

    def test_a_range_at_the_very_end_is_empty(self, store: Store) -> None:
        store.create("key", b"12345")
        assert len(store.read("key", 5)) == 0
        assert len(store.read("key", 5, 0)) == 0

    @pytest.mark.parametrize(("start", "count"), [(0, 6), (3, 3), (5, 1), (6, None), (6, 0), (9, 9), (-1, 2)])
    def test_a_range_that_the_object_does_not_have_is_refused_with_sizes(
        self, store: Store, start: int, count: int | None
    ) -> None:
        store.create("some/key", b"12345")
        with pytest.raises(CorruptObject, match=r"some/key.* has 5 bytes"):
            store.read("some/key", start, count)

    @pytest.mark.parametrize("start", [0, 64, 4096 + 64, 1_048_576])
    @pytest.mark.parametrize("count", [1000, 200_000, 2_097_152])
    def test_what_is_read_is_aligned_where_the_offset_is(self, store: Store, start: int, count: int) -> None:
        store.create("key", MEGABYTES_3 + bytes(1 << 20))
        assert address(store.read("key", start, count)) % 64 == 0

    @pytest.mark.parametrize("size", [1000, len(MEGABYTES_3)])
    def test_what_is_read_may_be_changed_without_changing_the_object(self, store: Store, size: int) -> None:
        store.create("key", MEGABYTES_3[:size])
        store.read("key")[:] = bytes(size)
        assert bytes(store.read("key")) == MEGABYTES_3[:size]

    @pytest.mark.parametrize("size", [1000, len(MEGABYTES_3)])
    def test_what_is_read_outlives_its_object(self, store: Store, size: int) -> None:
        store.create("key", MEGABYTES_3[:size])
        view = store.read("key")
        store.delete(["key"])
        store.create("key", bytes(size))
        assert view == MEGABYTES_3[:size]

    def test_a_reader_goes_front_to_back_in_aligned_pieces(self, store: Store) -> None:
        store.create("key", MEGABYTES_3)
        with store.open("key") as reader:
            assert reader.size == len(MEGABYTES_3)
            at = 0
            for count in (8, 120, 1_000_000, 4096, 2_000_000):
                piece = reader.next(count)
                assert piece == MEGABYTES_3[at : at + count]
                assert address(piece) % 64 == 0
                at += count
            rest = bytearray(len(MEGABYTES_3) - at)
            reader.readinto(memoryview(rest))
            assert rest == MEGABYTES_3[at:]

    def test_a_reader_fills_memory_of_any_type(self, store: Store) -> None:
        array = np.arange(1000, dtype="<f4")
        store.create("key", memoryview(array))
        target = np.zeros(1000, "<f4")
        with store.open("key") as reader:
            reader.readinto(memoryview(target))
        assert np.array_equal(target, array)

    def test_a_reader_refuses_to_go_past_the_end_and_keeps_its_place(self, store: Store) -> None:
        store.create("some/key", b"12345")
        with store.open("some/key") as reader:
            reader.next(3)
            with pytest.raises(CorruptObject, match="some/key"):
                reader.next(3)
            with pytest.raises(CorruptObject, match="some/key"):
                reader.readinto(memoryview(bytearray(3)))
            assert bytes(reader.next(2)) == b"45"

    def test_a_reader_that_is_given_up_early_leaves_the_store_usable(self, store: Store) -> None:
        store.create("key", MEGABYTES_3)
        with store.open("key") as reader:
            reader.next(10)
        assert bytes(store.read("key", 0, 10)) == MEGABYTES_3[:10]

    def test_a_missing_object_is_named(self, store: Store) -> None:
        store.create("folder/key", b"")
        for key in ("nothing", "folder", "nothing/at/all"):
            assert not store.exists(key)
            with pytest.raises(ObjectMissing, match=key):
                store.read(key)
            with pytest.raises(ObjectMissing, match=key):
                store.read(key, 0, 1)
            with pytest.raises(ObjectMissing, match=key):
                store.open(key)

    def test_delete_removes_objects_and_passes_over_missing_ones(self, store: Store) -> None:
        keys = [f"work/1/{index}" for index in range(5)]
        for key in keys:
            store.create(key, b"x")
        store.delete([*keys[:3], "work/1/none", "none/at/all"])
        assert [store.exists(key) for key in keys] == [False] * 3 + [True] * 2
        store.delete([])
        store.delete(keys)
        assert store.create(keys[0], b"again")

    def test_delete_takes_more_keys_than_one_request_may_hold(self, store: Store) -> None:
        store.create("last", b"x")
        store.delete([*(f"none-{index}" for index in range(1500)), "last"])
        assert not store.exists("last")

    def test_a_listing_has_keys_and_sizes_in_the_order_of_the_keys(self, store: Store) -> None:
        sizes = {
            "jobs/a-b/x": 1,
            "jobs/a/b/y": 200_000,
            "jobs/a/b.json": 3,
            "jobs/a.json": 0,
            "jobs/ü 1+%/z": 5,
        }
        for key, size in sizes.items():
            store.create(key, bytes(size))
        store.create("elsewhere", b"x")
        assert [each[:2] for each in store.list("jobs/")] == sorted(sizes.items())
        assert [each.key for each in store.list("jobs/a/")] == ["jobs/a/b.json", "jobs/a/b/y"]
        assert [each.key for each in store.list("jobs/a")] == sorted(sizes)[:4]
        assert [each.key for each in store.list("")] == ["elsewhere", *sorted(sizes)]
        assert list(store.list("jobs/nothing")) == list(store.list("nothing/at/all/")) == []

    def test_a_shallow_listing_has_folders_in_place_of_what_is_in_them(self, store: Store) -> None:
        for key in ("jobs/b/spec.json", "jobs/b/work/1", "jobs/a/spec.json", "jobs/note", "elsewhere"):
            store.create(key, b"12")
        found = [each[:2] for each in store.list("jobs/", shallow=True)]
        assert found == [("jobs/a/", 0), ("jobs/b/", 0), ("jobs/note", 2)]
        assert [each[:2] for each in store.list("jobs", shallow=True)] == [("jobs/", 0)]
        assert [each.key for each in store.list("jobs/b/w", shallow=True)] == ["jobs/b/work/"]

    def test_a_listing_of_more_than_a_page_is_whole(self, store: Store) -> None:
        keys = [f"work/{index:04}" for index in range(1005)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda key: store.create(key, b""), keys))
        assert [each.key for each in store.list("work/")] == keys

    def test_what_is_deleted_while_it_is_listed_stops_no_listing(self, store: Store) -> None:
        keys = [f"work/{index}" for index in range(5)]
        for key in keys:
            store.create(key, b"")
        listing = store.list("work/")
        first = next(listing).key
        store.delete(keys[1:])
        assert {first, *(each.key for each in listing)} <= set(keys)

    def test_delete_prefix_removes_what_starts_so_and_nothing_else(self, store: Store) -> None:
        gone = ["jobs/a/spec.json", "jobs/a/work/1/0", "jobs/a/work/1/1"]
        kept = ["jobs/ab/spec.json", "jobs/b/spec.json"]
        for key in gone + kept:
            store.create(key, b"x")
        store.delete_prefix("jobs/a/")
        assert not any(map(store.exists, gone))
        assert all(map(store.exists, kept))
        store.delete_prefix("jobs/a")
        assert [store.exists(key) for key in kept] == [False, True]
        store.delete_prefix("jobs/nothing/")

    def test_keys_may_have_spaces_and_letters_of_any_script(self, store: Store) -> None:
        key = "data/Übung 1/a&b<c>+d=e%20f;?#'\"~.npz"
        assert store.create(key, b"x")
        assert store.exists(key)
        assert bytes(store.read(key)) == b"x"
        store.delete([key])
        assert not store.exists(key)

    @pytest.mark.parametrize(
        "key", ["", "/a", "a//b", "..", "../a", "a/../b", "a/..", "./a", "a/", "a\0b", "a\nb", "x" * 1025]
    )
    def test_a_key_that_could_leave_the_store_is_refused(self, store: Store, key: str) -> None:
        for use in (
            store.read,
            store.open,
            store.exists,
            lambda k: store.create(k, b""),
            lambda k: store.delete([k]),
        ):
            with pytest.raises(StoreError, match="is no object key"):
                use(key)

    @pytest.mark.parametrize("prefix", ["", "/", "../", "a//"])
    def test_a_prefix_that_could_leave_the_store_is_refused(self, store: Store, prefix: str) -> None:
        with pytest.raises(StoreError, match="is no object key"):
            store.delete_prefix(prefix)
        if prefix:
            with pytest.raises(StoreError, match="is no object key"):
                list(store.list(prefix))

    @pytest.mark.parametrize("prefix", ["", "jobs/some-uid/"])
    def test_a_probe_accepts_it_and_leaves_nothing(self, store: Store, prefix: str) -> None:
        store.probe(prefix)
        store.delete_prefix("jobs")
        assert self.left(store) == []

    def left(self, store: Store) -> list[str]:
        """What is still stored, by some other way than the store's own methods."""
        raise NotImplementedError
