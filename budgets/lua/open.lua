#!lua
-- Opens a request: checks everything, then writes everything (Redis does not roll a script back).
-- Refused when memory is full (no allow-oom): new work waits, running work ends.
-- KEYS  1 open record  2 leases  3 meta  4 key row  5 values of limits, then the hashes that hold the rows,
--       then the customer's row where its version is asked
-- ARGV  1 request id  2 owner  3 payload
--       4 what the caller goes by, spaced: run id of the server that it is connected to, versions of the key, of
--       the account's list of limits, and of the customer's own list (0: it has none, or is not asked)
--       5 name of the account's version in meta
--       6 numbers: latest window start, earliest window end (ms), how many rows, how far behind its limit's id a
--       row's name stands (0: it is the name, too), the number of the hash that expires 40 days after its last use
--       (0: none), lease ms, 1 when the caller repeats an open whose answer it lost, ample factor, then for each
--       meter: full, assumed, least, then each hash's end (ms; 0: never); all int64, little-endian
--       7 rows, as the record keeps them. It begins with three characters for each row: the place of its hash
--       ('0' the first), its meter, its enforcement (h, s or w)
--       8 meters, a letter each  9 held: the full amounts, spaced  10... each row's limit id; each row's name,
--       where it is not the same
-- Times are ms of Redis' own clock. Amounts are int64 in rows and doubles <= 2^53-1 inside; they are only ever
-- written by struct.pack or %.0f, or answered as integers: tostring and .. lose digits beyond the 14th.
-- Answers the refusal's word and what it is of, as a list; OK, what is held, when, what money is free now ('' where no
-- hard limit says) and rows over their limit, spaced; or only the second and third of these (-1) as numbers where all
-- is held in full and no row is over its limit.
-- Thousands of instructions: a call into Redis 5 to 15, a table that grows 1 to 3, a number read or written as text
-- 1 to 2, an argument 1.3. So few of each, and tables are made with the room that four rows of one meter need.
local call, tonumber, KEYS, ARGV = redis.call, tonumber, KEYS, ARGV
local byte, pack, unpacked = string.byte, struct.pack, struct.unpack
local ROW, MINUTE_US, RETENTION_MS = '<i8i8i8', 60000000, 3456000000 -- 40 days
local AMOUNTS = 65                      -- where they begin among the numbers
local numbers, meters = ARGV[6], ARGV[8]
local start_ms, end_ms, rows, behind, used, lease_ms, again, ample = unpacked('<i8i8i8i8i8i8i8i8', numbers)
local time = call('TIME')
local at = time[1] .. string.sub('00000' .. time[2], -6, -4)
local now = at + 0

if call('EXISTS', KEYS[1]) == 1 then
  local was = again == 1 and redis.pcall('HMGET', KEYS[1], 'owner', 'held', 'at', 'rows', 'meters')
  if was and not was.err and was[1] == ARGV[2] then
    return {'OK', was[2], was[3], '', '', was[4], was[5]}
  end
  return {'EXISTS'}
end

local shape = {byte(ARGV[7], 1, 3 * rows)}
local hashes = rows > 0 and shape[3 * rows - 2] - 47 or 0
local meta = call('HMGET', KEYS[3], 'complete_since', 'run_id', ARGV[5])
local key = call('HMGET', KEYS[4], 'st', 'ver', 'exp')
local own = #KEYS > 5 + hashes and call('HGET', KEYS[#KEYS], 'ver')
if not (meta[1] and meta[2] and key[1]) then return {'COLD'} end
local is_stale = false
if meta[2] .. ' ' .. (key[2] or '0') .. ' ' .. (meta[3] or '0') .. ' ' .. (own or '0') ~= ARGV[4] then
  -- A caller may have read the newer document before its version arrived here; only an older one is stale.
  local function stale(copy, version) return version and tonumber(version) > tonumber(copy) end
  local run_id, of_key, of_account, of_customer = string.match(ARGV[4], '(%S*) (%d+) (%d+) (%d+)')
  if meta[2] ~= run_id then return {'COLD'} end
  is_stale = stale(of_key, key[2]) or stale(of_account, meta[3]) or stale(of_customer, own)
end
if key[1] ~= 'active' then return {'REVOKED'} end
if key[3] and key[3] ~= '' and tonumber(key[3]) <= now then return {'EXPIRED'} end
if is_stale then return {'STALE'} end
if now < start_ms or now >= end_ms then return {'PERIOD', at} end

local M, NAMES = #meters, 9 + behind
local place = {[byte(meters)] = 1}      -- meter letter -> its place
for m = 2, M do place[byte(meters, m)] = m end
local free, unheld = {false}, {false}   -- by meter, over hard rows: least free, least unheld
local late_ms, late, us = 0, nil, nil   -- a hard rate that has to wait longest
local over = ''                         -- rows that would refuse if they were hard
local known, m, least                   -- the meter of the row before, and its least amount where that was asked

local values = rows > 0 and call('HMGET', KEYS[5], unpack(ARGV, 10, 9 + rows))
local sums = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} -- of each row: spent, reserved, doubted; the third for a rate: all
local fresh                             -- hashes that hold none of our rows yet
local first = 1
while first <= rows do
  local h, last, only, found = shape[3 * first - 2], first, nil, nil
  while shape[3 * last + 1] == h do last = last + 1 end
  if last == first then only = call('HGET', KEYS[h - 42], ARGV[NAMES + first])
  else found = call('HMGET', KEYS[h - 42], unpack(ARGV, NAMES + first, NAMES + last)) end
  local some = only
  for i = first, last do
    local row = only or found and found[i - first + 1]
    local last_of, value = 3 * i, values[i]
    local letter = shape[last_of - 1]
    some = some or row
    if not value then return {'COLD'} end
    if letter ~= known then known, m, least = letter, place[letter], nil end
    if letter == 113 or letter == 107 then -- q and k: rates
      us = us or time[1] * 1000000 + time[2]
      local arrival = math.max(tonumber(row or '0'), us)
        + math.min(math.ceil(unpacked('<i8', numbers, AMOUNTS + 24 * m - 24) * MINUTE_US / value), MINUTE_US)
      local wait_ms = math.ceil((arrival - us - MINUTE_US) / 1000)
      sums[last_of - 2] = 0
      sums[last_of - 1] = 0
      sums[last_of] = row
      if wait_ms <= 0 then
        sums[last_of] = arrival
      elseif shape[last_of] ~= 104 then -- it goes on, and counts as a hard rate would: what is refused does not
        over = over .. i .. ' '
      elseif wait_ms > late_ms then
        late_ms, late = wait_ms, i
      end
    else
      local s, r, d = 0, 0, 0
      if row then s, r, d = unpacked(ROW, row) end
      sums[last_of - 2] = s
      sums[last_of - 1] = r
      sums[last_of] = d
      local rest = value - s - d
      if shape[last_of] == 104 then     -- h: hard
        local least_free, least_unheld = free[m], unheld[m]
        if not least_free or rest - r < least_free then free[m] = rest - r end
        if not least_unheld or rest < least_unheld then unheld[m] = rest end
      else
        least = least or unpacked('<i8', numbers, AMOUNTS + 24 * m - 8)
        if rest - r < least then over = over .. i .. ' ' end
      end
    end
  end
  if not some then
    fresh = fresh or {}
    fresh[#fresh + 1] = h
  end
  first = last + 1
end

-- The hold of each meter. What keeps it out for good is told before what others hold, and that before a rate.
local needs, reduced, busy = {0}, false, nil
for m = 1, M do
  local full, assumed, least = unpacked(ROW, numbers, AMOUNTS + 24 * m - 24)
  local need, left = full, free[m]
  if left then
    if least ~= full and left < ample * full and not (assumed == full and left >= full) then
      -- Nobody named a maximum and the whole ceiling is not small change here: hold less, and say so.
      if left >= assumed then need = assumed
      elseif left >= least then need = left
      else need = least end
      reduced = true
    end
    if left < need then
      local refusal
      for i = rows, 1, -1 do            -- the first row that leaves no more
        if place[shape[3 * i - 1]] == m and shape[3 * i] == 104 then
          local s, r, d = sums[3 * i - 2], sums[3 * i - 1], sums[3 * i]
          local rest = values[i] - s - d
          if unheld[m] < least and rest == unheld[m] then refusal = {'EXHAUSTED', i, values[i], s, rest - r}
          elseif unheld[m] >= least and rest - r == left then refusal = {'BUSY', i, values[i], s, rest - r} end
        end
      end
      refusal[6] = ''
      if refusal[1] == 'EXHAUSTED' then return refusal end
      busy = busy or refusal
    end
  end
  needs[m] = need
end
if busy then
  local oldest = call('ZRANGE', KEYS[2], '0', '0', 'WITHSCORES')
  if oldest[2] then busy[6] = math.max(0, oldest[2] - now) end
  return busy
end
if late then return {'RATE', late, values[late], 0, 0, late_ms} end

local written, n = {'', '', '', '', '', '', '', ''}, 0 -- names and contents of one hash' rows
for i = 1, rows do
  local last_of = 3 * i
  local h, letter, content = shape[last_of - 2], shape[last_of - 1], sums[last_of]
  if letter ~= 113 and letter ~= 107 then
    content = pack(ROW, sums[last_of - 2], sums[last_of - 1] + needs[place[letter]], content)
  end
  written[n + 1] = ARGV[NAMES + i]
  written[n + 2] = content
  n = n + 2
  if shape[last_of + 1] ~= h then
    call('HSET', KEYS[h - 42], unpack(written, 1, n))
    n = 0
  end
end
if used > 0 then call('PEXPIRE', KEYS[5 + used], RETENTION_MS) end
for _, h in ipairs(fresh or {}) do
  local ends = unpacked('<i8', numbers, AMOUNTS + 24 * M + 8 * (h - 48))
  if ends > 0 and call('PTTL', KEYS[h - 42]) == -1 then call('PEXPIREAT', KEYS[h - 42], ends + RETENTION_MS) end
end
local held = ARGV[9]
if reduced then
  for m = 1, M do written[m] = string.format('%.0f', needs[m]) end
  held = table.concat(written, ' ', 1, M)
end
call('HSET', KEYS[1], 'owner', ARGV[2], 'held', held, 'at', at, 'rows', ARGV[7], 'meters', meters,
  'payload', ARGV[3])
call('ZADD', KEYS[2], now + lease_ms, ARGV[1])
local money = place[109]                -- m
local remaining = money and free[money] and free[money] - needs[money]
if reduced or over ~= '' then return {'OK', held, at, remaining or '', over} end
return pack('<i8i8', now, remaining or -1)
