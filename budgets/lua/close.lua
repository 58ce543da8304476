#!lua flags=allow-oom
-- Ends a request, once: frees its hold, settles its cost, appends its event, leaves a marker.
-- KEYS  1 open record  2 leases  3 outbox  4 meta, then the rows' hashes, then values of limits and notices where
--       thresholds or rates ask for them
-- ARGV  1 request id  2 status  3 marker ms  4 event
--       5 fence: the heartbeat count the reaper saw, '' from the worker, 'again' where this close had been
--       acknowledged before and the server may have lost that
--       6 numbers: how many rows and meters, how far behind its limit's id a row's name stands (0: it is the name,
--       or no id is given), when it was opened (ms, Redis time), then for each meter: spent, doubted; all int64,
--       little-endian
--       7 three characters for each row (see open.lua), then the meters, then thresholds: for each row that has some,
--       its number, a colon and rising percents with commas, spaced
--       8... each row's limit id, where thresholds or rates ask for its value or it is the name; each row's name,
--       where it is not the same
-- Answers ok; closed (it had ended before, nothing changes); missing (the record was lost with the server's
-- memory, or never was); ALIVE (only to a fence: the holder has shown itself since).
local call, tonumber, KEYS, ARGV = redis.call, tonumber, KEYS, ARGV
local byte, pack, unpacked = string.byte, struct.pack, struct.unpack
local ROW, MINUTE_US = '<i8i8i8', 60000000
local AMOUNTS = 33                      -- where they begin among the numbers
local numbers = ARGV[6]
local rows, M, behind, opened_ms = unpacked('<i8i8i8i8', numbers)
local held = redis.pcall('HGET', KEYS[1], 'held')
if type(held) == 'table' then return 'closed' end -- the marker is a string, so a hash command does not fit it

local answer, settles, again = 'ok', true, ARGV[5] == 'again'
if held then
  if ARGV[5] ~= '' and not again and ARGV[5] ~= (call('HGET', KEYS[1], 'hb') or '0') then return 'ALIVE' end
  call('ZREM', KEYS[2], ARGV[1])
elseif again then
  -- Its event may be stored by now, and counted by whoever made the shard whole. So the event alone is appended:
  -- making whole counts the outbox, and a shard that is whole already is to be compared at once.
  answer, settles = 'missing', false
  call('ZREM', KEYS[2], ARGV[1])
  if call('HEXISTS', KEYS[4], 'complete_since') == 1 then call('HSET', KEYS[4], 'unsure', '1') end
else
  if ARGV[5] ~= '' then return 'missing' end
  answer = 'missing'
  call('ZREM', KEYS[2], ARGV[1])
  -- The event is appended in any case (its id makes a second one harmless). The money is added where the
  -- rows cannot hold it yet: the ledger was made whole after the opening, or so little time has passed that an
  -- ended request's marker would still be here. A ledger that is not whole counts the outbox when it is made so.
  local since = tonumber(call('HGET', KEYS[4], 'complete_since') or nil)
  local time = call('TIME')
  local age = time[1] * 1000 + math.floor(time[2] / 1000) - opened_ms
  settles = since and (since > opened_ms or age < tonumber(ARGV[3]))
end

local shape = {byte(ARGV[7], 1, 3 * rows)}
local NAMES, marked = 7 + behind, #ARGV[7] > 3 * rows + M
local LIMITS, NOTICES = KEYS[#KEYS - 1], KEYS[#KEYS] -- where something asks for them
local spent = marked and {}             -- of rows, where some have thresholds
if settles and rows > 0 then
  -- By meter: its place, and what was held. A record that is missing held nothing.
  local place, freed = {[byte(ARGV[7], 3 * rows + 1)] = 1}, {tonumber(held or '0') or 0}
  if M > 1 then
    local next_held = string.gmatch(held or '', '%d+')
    for m = 1, M do
      place[byte(ARGV[7], 3 * rows + m)] = m
      freed[m] = tonumber(next_held() or '0')
    end
  end
  local known, came, doubting, free     -- the meter of the row before, and its amounts
  local first, written, n = 1, {'', '', '', '', '', '', '', ''}, 0
  while first <= rows do
    local h, last, only, found = shape[3 * first - 2], first, nil, nil
    while shape[3 * last + 1] == h do last = last + 1 end
    if last == first then only = call('HGET', KEYS[h - 43], ARGV[NAMES + first])
    else found = call('HMGET', KEYS[h - 43], unpack(ARGV, NAMES + first, NAMES + last)) end
    for i = first, last do
      local letter, row, content = shape[3 * i - 1], only or found and found[i - first + 1], nil
      if letter ~= known then
        local m = place[letter]
        known, free, came, doubting = letter, freed[m], unpacked('<i8i8', numbers, AMOUNTS + 16 * m - 16)
      end
      if letter == 107 then             -- k, tokens a minute: what was estimated makes way for what was used
        local value = tonumber(call('HGET', LIMITS, ARGV[7 + i]) or nil)
        if row and value then
          local moved = came * MINUTE_US / value - math.min(math.ceil(free * MINUTE_US / value), MINUTE_US)
          content = string.format('%.0f', math.max(0, row + moved))
        end
      elseif letter ~= 113 then         -- q, requests a minute: nothing comes back
        local s, r, d = 0, 0, 0
        if row then s, r, d = unpacked(ROW, row) end
        s, r = s + came, r - free
        if spent then spent[i] = s end
        if r < 0 then r = 0 end         -- a row that lost holds must not give room away
        content = pack(ROW, s, r, d + doubting)
      end
      if content then
        written[n + 1] = ARGV[NAMES + i]
        written[n + 2] = content
        n = n + 2
      end
    end
    if n > 0 then call('HSET', KEYS[h - 43], unpack(written, 1, n)) end
    first, n = last + 1, 0
  end

  local thresholds = marked and string.sub(ARGV[7], 3 * rows + M + 1) or ''
  for number, marks in string.gmatch(thresholds, '(%d+):(%S+)') do
    local i = tonumber(number)
    local hash, name = KEYS[shape[3 * i - 2] - 43], ARGV[NAMES + i]
    local value = tonumber(call('HGET', LIMITS, ARGV[7 + i]) or nil)
    local told, crossed = tonumber(call('HGET', hash, '!' .. name) or '0'), nil
    for mark in string.gmatch(marks, '%d+') do
      if value and tonumber(mark) > told and spent[i] * 100 >= tonumber(mark) * value then crossed = mark end
    end
    if crossed then
      local time, read, event = call('TIME'), pcall(cjson.decode, ARGV[4])
      local account = read and type(event) == 'table' and event.account_id
      call('HSET', hash, '!' .. name, crossed)
      call('XADD', NOTICES, '*', 'account', account or '', 'limit', ARGV[7 + i], 'row', name,
        'percent', crossed, 'spent', string.format('%.0f', spent[i]), 'value', string.format('%.0f', value),
        'at', time[1] * 1000 + math.floor(time[2] / 1000))
    end
  end
end
call('XADD', KEYS[3], '*', 'e', ARGV[4])
call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return answer
