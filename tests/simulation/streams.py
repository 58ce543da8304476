"""The stream commands of an in-memory Redis, with consumer groups. Replies as in `commands`."""

from __future__ import annotations

from tests.simulation.commands import COMMANDS, OK, SYNTAX, Reply, integer
from tests.simulation.keyspace import MAX_PART, CommandError, Delivery, EntryId, Group, Keyspace, Stream

BAD_ID = "ERR Invalid stream ID specified as stream command argument"


def shown(entry_id: EntryId) -> bytes:
    """`ms-seq`."""
    return b"%d-%d" % entry_id


def entry_id(text: bytes, missing: int) -> EntryId:
    """A full or half id; `missing` stands for the part after the dash."""
    first, dash, second = text.partition(b"-")
    if not first.isdigit() or (dash and not second.isdigit()):
        raise CommandError(BAD_ID)
    return int(first), int(second) if dash else missing


def _bound(text: bytes, missing: int) -> EntryId:
    if text == b"-":
        return 0, 0
    if text == b"+":
        return MAX_PART, MAX_PART
    if text[:1] == b"(":
        milliseconds, number = entry_id(text[1:], missing)
        step = -1 if missing else 1
        return milliseconds, number + step
    return entry_id(text, missing)


def _shown_entry(stream: Stream, at: EntryId) -> Reply:
    fields = stream.entries.get(at)
    return [shown(at), None if fields is None else list(fields)]


def _group(space: Keyspace, name: bytes, group: bytes, *, command: str = "") -> tuple[Stream, Group]:
    stream: Stream | None = space.of(name, Stream)
    found = stream.groups.get(group) if stream is not None else None
    if stream is None or found is None:
        shown_name, shown_group = name.decode("latin-1"), group.decode("latin-1")
        where = f" in {command} with GROUP option" if command else ""
        raise CommandError(f"NOGROUP No such key '{shown_name}' or consumer group '{shown_group}'{where}")
    return stream, found


def _xadd(space: Keyspace, args: list[bytes]) -> Reply:
    name, *rest = args
    makes, most = True, None
    while rest and rest[0].upper() in (b"NOMKSTREAM", b"MAXLEN"):
        word = rest.pop(0).upper()
        if word == b"NOMKSTREAM":
            makes = False
            continue
        if rest and rest[0] in (b"=", b"~"):
            rest.pop(0)
        most = integer(rest.pop(0))
    if len(rest) < 3 or len(rest) % 2 == 0:
        raise CommandError("ERR wrong number of arguments for 'xadd' command")
    given = None if rest[0] == b"*" else entry_id(rest[0], 0)
    if given == (0, 0):
        raise CommandError("ERR The ID specified in XADD must be greater than 0-0")
    stream: Stream | None = space.of(name, Stream)
    if stream is None and not makes:
        return None
    last = stream.last if stream is not None else (0, 0)
    made = given or max((space.now_ms, 0), (last[0], last[1] + 1))
    if made <= last:
        raise CommandError("ERR The ID specified in XADD is equal or smaller than the target stream top item")
    stream = space.made(name, Stream)
    assert stream is not None
    stream.ids.append(made)
    stream.entries[made] = tuple(rest[1:])
    stream.last = made
    stream.added += 1
    while most is not None and len(stream.ids) > most:
        stream.remove(stream.ids[0])
    return shown(made)


def _xlen(space: Keyspace, args: list[bytes]) -> Reply:
    stream: Stream | None = space.of(args[0], Stream)
    return 0 if stream is None else len(stream.ids)


def _ranged(
    space: Keyspace, name: bytes, first: bytes, last: bytes, options: list[bytes], *, back: bool
) -> Reply:
    most = -1
    if options:
        if len(options) != 2 or options[0].upper() != b"COUNT":
            raise CommandError(SYNTAX)
        most = integer(options[1])
    low, high = _bound(first, 0), _bound(last, MAX_PART)
    stream: Stream | None = space.of(name, Stream)
    if stream is None:
        return []
    found = stream.between(low, high)
    if back:
        found.reverse()
    return [_shown_entry(stream, at) for at in (found if most < 0 else found[:most])]


def _xrange(space: Keyspace, args: list[bytes]) -> Reply:
    return _ranged(space, args[0], args[1], args[2], args[3:], back=False)


def _xrevrange(space: Keyspace, args: list[bytes]) -> Reply:
    return _ranged(space, args[0], args[2], args[1], args[3:], back=True)


def _xdel(space: Keyspace, args: list[bytes]) -> Reply:
    stream: Stream | None = space.of(args[0], Stream)
    if stream is None:
        return 0
    ids = [entry_id(text, 0) for text in args[1:]]
    return sum(stream.remove(each) for each in ids)


def _xtrim(space: Keyspace, args: list[bytes]) -> Reply:
    how, bound = args[1].upper(), args[-1]
    stream: Stream | None = space.of(args[0], Stream)
    if how not in (b"MINID", b"MAXLEN"):
        raise CommandError(SYNTAX)
    if stream is None:
        return 0
    if how == b"MINID":
        gone = [each for each in stream.ids if each < entry_id(bound, 0)]
    else:
        gone = stream.ids[: max(0, len(stream.ids) - integer(bound))]
    return sum(stream.remove(each) for each in list(gone))


def _xgroup(space: Keyspace, args: list[bytes]) -> Reply:
    word = args[0].upper()
    if word != b"CREATE" or len(args) < 4:
        raise CommandError(f"ERR unknown subcommand '{args[0].decode('latin-1')}'. Try XGROUP HELP.")
    _, name, group, start, *options = args
    makes = b"MKSTREAM" in [option.upper() for option in options]
    stream: Stream | None = space.of(name, Stream)
    if stream is None:
        if not makes:
            raise CommandError(
                "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to "
                "use the MKSTREAM option to create an empty stream automatically."
            )
        stream = space.made(name, Stream)
    assert stream is not None
    if group in stream.groups:
        raise CommandError("BUSYGROUP Consumer Group name already exists")
    stream.groups[group] = Group(stream.last if start == b"$" else entry_id(start, 0))
    return OK


def _xack(space: Keyspace, args: list[bytes]) -> Reply:
    stream: Stream | None = space.of(args[0], Stream)
    group = stream.groups.get(args[1]) if stream is not None else None
    if group is None:
        return 0
    ids = [entry_id(text, 0) for text in args[2:]]
    return sum(group.pending.pop(each, None) is not None for each in ids)


def _xreadgroup(space: Keyspace, args: list[bytes]) -> Reply:
    if args[0].upper() != b"GROUP":
        raise CommandError(SYNTAX)
    _, group_name, consumer, *rest = args
    most = -1
    while rest and rest[0].upper() != b"STREAMS":
        word = rest.pop(0).upper()
        if word == b"COUNT":
            most = integer(rest.pop(0))
        elif word == b"BLOCK":
            rest.pop(0)  # who waits, and how, is the server's affair
        else:
            raise CommandError(SYNTAX)
    names, starts = rest[1 : 1 + len(rest) // 2], rest[1 + len(rest) // 2 :]
    groups = [_group(space, name, group_name, command="XREADGROUP") for name in names]
    answer = []
    for name, start, (stream, group) in zip(names, starts, groups, strict=True):
        group.consumers.setdefault(consumer, space.now_ms)
        if start == b">":
            found = [each for each in stream.ids if each > group.last]
            found = found if most < 0 else found[:most]
            for each in found:
                group.last = each
                group.pending[each] = Delivery(consumer, space.now_ms, 1)
            if found:
                answer.append([name, [_shown_entry(stream, each) for each in found]])
            continue
        after = entry_id(start, 0)
        mine = sorted(each for each, delivery in group.pending.items() if delivery.consumer == consumer)
        found = [each for each in mine if each > after]
        found = found if most < 0 else found[:most]
        for each in found:
            group.pending[each].count += 1
        # History is answered for every stream, even where there is none.
        answer.append([name, [_shown_entry(stream, each) for each in found]])
    return answer or None


def _xautoclaim(space: Keyspace, args: list[bytes]) -> Reply:
    name, group_name, consumer, idle, start, *options = args
    stream, group = _group(space, name, group_name)
    most = 100
    if options and options[0].upper() == b"COUNT":
        most = integer(options[1])
    first, cursor = entry_id(start, 0), (0, 0)
    claimed, gone = list[EntryId](), list[EntryId]()
    attempts = 10 * most
    for each in sorted(each for each in group.pending if each >= first):
        if attempts == 0 or len(claimed) == most:
            cursor = each
            break
        attempts -= 1
        delivery = group.pending[each]
        if each not in stream.entries:
            gone.append(each)
            del group.pending[each]
        elif space.now_ms - delivery.at_ms >= integer(idle):
            group.consumers.setdefault(consumer, space.now_ms)
            group.pending[each] = Delivery(consumer, space.now_ms, delivery.count + 1)
            claimed.append(each)
    return [
        shown(cursor),
        [_shown_entry(stream, each) for each in claimed],
        [shown(each) for each in gone],
    ]


def _xpending(space: Keyspace, args: list[bytes]) -> Reply:
    _, group = _group(space, args[0], args[1])
    if len(args) == 2:
        if not group.pending:
            return [0, None, None, None]
        by_consumer: dict[bytes, int] = {}
        for delivery in group.pending.values():
            by_consumer[delivery.consumer] = by_consumer.get(delivery.consumer, 0) + 1
        return [
            len(group.pending),
            shown(min(group.pending)),
            shown(max(group.pending)),
            [[consumer, b"%d" % count] for consumer, count in sorted(by_consumer.items())],
        ]
    low, high, most = _bound(args[2], 0), _bound(args[3], MAX_PART), integer(args[4])
    found = sorted(each for each in group.pending if low <= each <= high)[:most]
    return [
        [shown(each), delivery.consumer, space.now_ms - delivery.at_ms, delivery.count]
        for each in found
        for delivery in [group.pending[each]]
    ]


def _xinfo(space: Keyspace, args: list[bytes]) -> Reply:
    word = args[0].upper()
    stream: Stream | None = space.of(args[1], Stream)
    if stream is None:
        raise CommandError("ERR no such key")
    if word == b"GROUPS":
        return [
            [
                *(b"name", name, b"consumers", len(group.consumers), b"pending", len(group.pending)),
                *(b"last-delivered-id", shown(group.last)),
            ]
            for name, group in sorted(stream.groups.items())
        ]
    first = _shown_entry(stream, stream.ids[0]) if stream.ids else None
    last = _shown_entry(stream, stream.ids[-1]) if stream.ids else None
    return [
        *(b"length", len(stream.ids)),
        *(b"radix-tree-keys", 1, b"radix-tree-nodes", 2),
        *(b"last-generated-id", shown(stream.last)),
        *(b"max-deleted-entry-id", shown(stream.deleted)),
        *(b"entries-added", stream.added),
        *(b"recorded-first-entry-id", shown(stream.ids[0] if stream.ids else (0, 0))),
        *(b"groups", len(stream.groups)),
        *(b"first-entry", first, b"last-entry", last),
    ]


COMMANDS.update(
    {
        b"XADD": (_xadd, 4, None, True),
        b"XLEN": (_xlen, 1, 1, False),
        b"XRANGE": (_xrange, 3, None, False),
        b"XREVRANGE": (_xrevrange, 3, None, False),
        b"XDEL": (_xdel, 2, None, False),
        b"XTRIM": (_xtrim, 3, None, False),
        b"XGROUP": (_xgroup, 2, None, True),
        b"XACK": (_xack, 3, None, False),
        b"XREADGROUP": (_xreadgroup, 6, None, False),
        b"XAUTOCLAIM": (_xautoclaim, 5, None, False),
        b"XPENDING": (_xpending, 2, None, False),
        b"XINFO": (_xinfo, 2, None, False),
    }
)
