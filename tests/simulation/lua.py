"""Runs the ledger's Lua scripts as Redis does: Lua 5.1, its conversions of values, its errors.

One Lua state serves all simulated servers and seeds. Scripts keep nothing between calls, and a script that
touches a global variable fails here as it does in Redis.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
from lupa.lua51 import LuaRuntime  # type: ignore[import-untyped]

from tests.simulation.commands import Reply, Status
from tests.simulation.keyspace import CommandError

Invoke = Callable[[list[bytes]], Reply]

# What `invoke` and scripts answer across the border: a kind, then the parts.
_PLAIN, _ARRAY, _STATUS, _ERROR, _TABLE = range(5)

_PRELUDE = b"""
local invoke, pack, unpacked, decode = ...
local function back(raises, kind, ...)
  if kind == 0 then return (...) end
  if kind == 1 then return {...} end
  if kind == 2 then return {ok = ...} end
  if kind == 4 then return (...) end
  local failure = {err = ...}
  if raises then error(failure, 0) end
  return failure
end
local function array(...) return {...} end

local function readonly(name) error('Attempt to modify a readonly table script: ' .. tostring(name), 0) end
local globals = {
  redis = {
    call = function(...) return back(true, invoke(...)) end,
    pcall = function(...) return back(false, invoke(...)) end,
    error_reply = function(text) return {err = text} end,
    status_reply = function(text) return {ok = text} end,
  },
  struct = {pack = pack, unpack = unpacked}, cjson = {decode = decode},
  string = string, table = table, math = math,
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, pcall = pcall,
  rawequal = rawequal, rawget = rawget, rawset = rawset, select = select, setmetatable = setmetatable,
  getmetatable = getmetatable, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
  xpcall = xpcall,
}
local hidden = {}                       -- KEYS and ARGV change with each call
setmetatable(globals, {
  __index = function(_, name)
    if hidden[name] ~= nil then return hidden[name] end
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 0)
  end,
  __newindex = function(_, name) readonly(name) end,
})

local function compile(source, name)
  local script, fault = loadstring(source, '@' .. name)
  if script then setfenv(script, globals) end
  return script, fault or false
end

local function nests(value)
  for i = 1, #value do if type(value[i]) == 'table' then return true end end
  return false
end

local function run(script, keys, argv)
  hidden.KEYS, hidden.ARGV = keys, argv
  local well, value = pcall(script)
  hidden.KEYS, hidden.ARGV = nil, nil
  if not well then
    if type(value) == 'table' and value.err then return 3, value.err end
    return 3, 'ERR ' .. tostring(value)
  end
  if type(value) ~= 'table' then return 0, value end
  if value.err then return 3, value.err end
  if value.ok then return 2, value.ok end
  if #value > 1000 or nests(value) then return 4, value end
  return 1, unpack(value)
end
return compile, run, array
"""


class Lua:
    """The one Lua state. `run` executes a script against whoever carries out its commands."""

    def __init__(self) -> None:
        self._runtime: Any = LuaRuntime(
            encoding=None, unpack_returned_tuples=True, register_eval=False, register_builtins=False
        )
        self._invoke: Invoke | None = None
        self._broken: BaseException | None = None
        self._compile, self._run, self._array = self._runtime.execute(
            _PRELUDE, self._called, _packed, _unpacked, self._decoded
        )
        self._compiled: dict[bytes, Any] = {}

    def check(self, source: bytes) -> None:
        """Raise CommandError when the script does not compile."""
        self._function(source)

    def run(self, source: bytes, keys: list[bytes], args: list[bytes], invoke: Invoke) -> Reply:
        """The script's reply. CommandError: it failed, or answered an error."""
        function = self._function(source)
        assert self._invoke is None, "a script cannot run inside a script"
        self._invoke = invoke
        table = self._runtime.table_from
        try:
            answer = self._run(function, table(keys), table(args))
        finally:
            self._invoke = None
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise broken
        kind, *parts = answer if isinstance(answer, tuple) else (answer,)
        if kind == _PLAIN:
            return _answered(parts[0] if parts else None)
        if kind == _STATUS:
            return Status(parts[0])
        if kind == _ERROR:
            raise CommandError(parts[0].decode("utf-8", "replace"))
        if kind == _TABLE:
            return self._unfolded(parts[0])
        return [_answered(part) for part in _until_nil(parts)]

    def _function(self, source: bytes) -> Any:
        found = self._compiled.get(source)
        if found is None:
            body = source
            if source.startswith(b"#!"):
                body = source[source.index(b"\n") :]  # its line stays, so that errors name the right one
            found, fault = self._compile(body, b"user_script")
            if found is None:
                raise CommandError(f"ERR Error compiling script (new function): {fault.decode()}")
            self._compiled[source] = found
        return found

    def _called(self, *args: Any) -> tuple[Any, ...]:
        """redis.call and redis.pcall: the reply, as kind and parts."""
        assert self._invoke is not None
        try:
            reply = self._invoke([_argument(arg) for arg in args])
        except CommandError as error:
            return _ERROR, str(error).encode()
        except Exception as error:  # a fault of the simulation: Lua must not swallow it
            self._broken = error
            return _ERROR, b"ERR the simulation is broken"
        if isinstance(reply, list):
            if len(reply) > 1000 or any(isinstance(part, list | Status) for part in reply):
                return _TABLE, self._folded(reply)
            return _ARRAY, *(False if part is None else part for part in reply)
        if isinstance(reply, Status):
            return _STATUS, bytes(reply)
        return _PLAIN, False if reply is None else reply

    def _decoded(self, text: bytes) -> Any:
        """cjson.decode, of an object: its texts; a script of the ledger reads nothing else in JSON."""
        found = orjson.loads(text)
        return self._runtime.table_from(
            {name.encode(): value.encode() for name, value in found.items() if isinstance(value, str)}
        )

    def _folded(self, reply: Reply) -> Any:
        if isinstance(reply, list):
            return self._runtime.table_from([self._folded(part) for part in reply])
        if isinstance(reply, Status):
            return self._runtime.table_from({b"ok": bytes(reply)})
        return False if reply is None else reply

    def _unfolded(self, value: Any) -> Reply:
        if isinstance(value, bytes | int | float | bool) or value is None:
            return _answered(value)
        for word, make in ((b"err", CommandError), (b"ok", Status)):
            if value[word] is not None:
                return make(value[word])
        parts: list[Reply] = []
        while (part := value[len(parts) + 1]) is not None:
            parts.append(self._unfolded(part))
        return parts


@cache
def shared_lua() -> Lua:
    """The Lua state of this process."""
    return Lua()


def allows_full_memory(source: bytes) -> bool:
    """Whether the script declares that it may run while Redis is full."""
    first, _, _ = source.partition(b"\n")
    return first.startswith(b"#!") and b"allow-oom" in first


def declares_flags(source: bytes) -> bool:
    """Whether the script begins with a declaration, even an empty one."""
    return source.startswith(b"#!")


def _argument(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CommandError("ERR Lua redis lib command arguments must be strings or integers")
    return b"%.17g" % value


def _answered(value: Any) -> Reply:
    """A Lua value as a reply: numbers lose their fraction, false is nothing, true is 1."""
    if value is None or value is False:
        return None
    if value is True:
        return 1
    return int(value) if isinstance(value, float) else value


def _until_nil(parts: list[Any]) -> list[Any]:
    return parts[: parts.index(None)] if None in parts else parts


_FORMATS: dict[bytes, struct.Struct] = {}


def _format(text: bytes) -> struct.Struct:
    """`<i8i8i8` as Python writes it. Only what the ledger's scripts use is known."""
    found = _FORMATS.get(text)
    if found is None:
        numbers, rest = text[1:].count(b"i8"), text[1:].replace(b"i8", b"")
        if text[:1] != b"<" or rest or not numbers:
            raise ValueError(f"struct format {text!r} is not simulated")
        found = _FORMATS[text] = struct.Struct(f"<{numbers}q")
    return found


def _packed(text: bytes, *values: Any) -> bytes:
    return _format(text).pack(*(int(value) for value in values))


def _unpacked(text: bytes, source: bytes, position: int = 1) -> tuple[int, ...]:
    form = _format(text)
    return *form.unpack_from(source, int(position) - 1), int(position) + form.size
