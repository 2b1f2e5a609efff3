"""The scripts that write a session's streams (streams.py says their keys), run as the server knows them.

Each asks in the same step whether its writer still may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from browsers.redis import Command, ask, script

Found = Sequence[tuple[bytes, Sequence[tuple[bytes, Mapping[bytes, bytes]]]]]
"""What XREAD gives: by stream its entries."""


@dataclass(frozen=True)
class Call:
    """A script that is to be run."""

    script: str
    keys: tuple[str, ...]
    args: tuple[str | bytes | int | float, ...]


def run(call: Call) -> Any:
    """Run it; what it answers."""
    return ask(command(call))[0]


def command(call: Call) -> Command:
    """What runs it, where the server knows it already."""
    return script(call.script, call.keys, call.args)


# KEYS[1] the fence; ARGV[1] a stage, ARGV[2] its epoch. Why its holder may not write; false: they may. Who
# has a later epoch than the stage follows it: what they would write is compared, and not written.
_REFUSED = """
local function refused()
  local held = redis.call('HMGET', KEYS[1], ARGV[1], 'ended')
  if not held[1] then return 'gone' end
  if held[2] then return 'ended' end
  if held[1] == ARGV[2] then return false end
  return tonumber(held[1]) < tonumber(ARGV[2]) and 'follows' or 'stale'
end
local function spent(ms)
  if tonumber(ms) > 0 then redis.call('HINCRBYFLOAT', KEYS[1], 'ms:' .. ARGV[1], ms) end
end
"""

# Whether the stage is still that writer's.
STANDS: Final = _REFUSED + "return {refused() or 'new'}"

# ARGV: the epoch of each stage.
SHUT_OUT: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for index, epoch in ipairs(ARGV) do redis.call('HSET', KEYS[1], index - 1, epoch) end
redis.call('HSET', KEYS[1], 'anew', 1)
return 1
"""

# KEYS[2] the next stage's inputs. ARGV: 3 an entry's id, 4 its frame, 5 for how long it is kept, 6 ms.
APPEND: Final = (
    _REFUSED
    + """
local why = refused()
if why and why ~= 'follows' then return {why} end
local written = not why and redis.pcall('XADD', KEYS[2], ARGV[3], 'f', ARGV[4])
if type(written) ~= 'string' then
  local had = redis.call('XRANGE', KEYS[2], ARGV[3], ARGV[3])
  if #had > 0 then return {'had', had[1][2][2]} end
  if why then return {why} end
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
  if #last > 0 and tonumber(string.match(last[1][1], '%d+')) > tonumber(string.match(ARGV[3], '%d+')) then
    return {'gap'}
  end
  return written
end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
spent(ARGV[6])
return {'new'}
"""
)

# KEYS: 1 the fence, 2 what is told. An entry of what is told.
_NOTE_DOWN = """
local function note_down(entry, event)
  redis.call('XADD', KEYS[2], entry, 'e', event, 'b', redis.call('HGET', KEYS[1], 'begun') or '')
end
"""

# KEYS: 1 the fence, 2 what is told, 3 the control worker's list, 4… inputs of all stages. Where `first` is
# the first of: the event, for how long all is kept, the number of what ends a stream, what control is told,
# what stages are told.
_ENDING = (
    _NOTE_DOWN
    + """
local function finish(first)
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
  local number = #last > 0 and string.match(last[1][1], '%d+') or '0'
  note_down(number .. '-*', ARGV[first])
  redis.call('PEXPIRE', KEYS[2], ARGV[first + 1])
  redis.call('HSET', KEYS[1], 'ended', 1)
  redis.call('PEXPIRE', KEYS[1], ARGV[first + 1])
  for each = 4, #KEYS do
    redis.call('XADD', KEYS[each], ARGV[first + 2] .. '-0', 'end', ARGV[first + 4])
    redis.call('PEXPIRE', KEYS[each], 60000)
  end
  redis.call('LPUSH', KEYS[3], ARGV[first + 3])
end
"""
)

# ARGV: 3 the number of the first token, 4 the events of all, a line each, 5 and 6 the next step's entry and
# frame, 7 to 11 as `finish` takes them, 12 ms, 13 how many tokens, 14 how many were drafted; an empty event:
# it goes on.
TELL_TOKENS: Final = (
    _REFUSED
    + _ENDING
    + """
local why = refused()
if why and why ~= 'follows' then return {why} end
local first = tonumber(ARGV[3])
local had = {}
for number = first, first + ARGV[13] - 1 do
  local entry = number .. '-0'
  local found = redis.call('XRANGE', KEYS[2], entry, entry)
  if #found > 0 then table.insert(had, found[1][2][2]) end
end
if #had > 0 then return {'had', table.concat(had, '\\n')} end
if why then return {why} end
local number = first
for event in string.gmatch(ARGV[4], '[^\\n]+') do
  note_down(number .. '-0', event)
  number = number + 1
end
spent(ARGV[12])
if tonumber(ARGV[14]) > 0 then
  redis.call('HINCRBY', KEYS[1], 'drafted', ARGV[14])
  redis.call('HINCRBY', KEYS[1], 'kept', ARGV[13] - 1)
end
if ARGV[7] ~= '' then
  finish(7)
else
  redis.call('XADD', KEYS[4], ARGV[5], 'f', ARGV[6])
  for _, key in ipairs({KEYS[1], KEYS[2], KEYS[4]}) do redis.call('PEXPIRE', key, ARGV[8]) end
end
return {'new'}
"""
)

END: Final = (
    _ENDING
    + """
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], 'ended') == 1 then return 0 end
finish(1)
return 1
"""
)

# KEYS: 1 the fence, 2 what is told. ARGV: 3 an event, 4 for how long it is kept.
_TELL = (
    _NOTE_DOWN
    + """
local function tell()
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
  local number = #last > 0 and string.match(last[1][1], '%d+') or '0'
  note_down(number .. '-*', ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
"""
)

# ARGV: 2 the stage's epoch from now on, 3 and 4 as `tell` takes them, 5 what its new holder finds of it.
GIVE: Final = (
    _TELL
    + """
local held = redis.call('HMGET', KEYS[1], ARGV[1], 'ended')
if not held[1] then return 'gone' end
if held[2] then return 'ended' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], 'taken:' .. ARGV[1], ARGV[5])
redis.call('HDEL', KEYS[1], 'within:' .. ARGV[1])
tell()
return 'new'
"""
)

NOTE: Final = _REFUSED + _TELL + "if not refused() then tell() end"

# ARGV: a field of the fence, and what it is to say.
NOTE_FIELD: Final = (
    "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end"
)

# ARGV[3]: how long the stage's next step may take, in ms.
ALLOW: Final = (
    _REFUSED
    + "if not refused() then redis.call('HSET', KEYS[1], 'within:' .. ARGV[1], ARGV[3]) end"
)
