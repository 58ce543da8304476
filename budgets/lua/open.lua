#!lua
-- Opens a request: checks everything, then writes everything (Redis does not roll a script back).
-- Refused when memory is full (no allow-oom): new work waits, running work ends.
-- KEYS  1 open record  2 leases  3 meta  4 key row  5 values of limits, then the hashes that hold the rows
--       (C of them), then the customer's row when ARGV[6] is not empty
-- ARGV  1 request id  2 owner  3 key version  4 name and 5 version of the account's list of limits
--       6 version of the customer's own list ('0': it has none; '': not asked)
--       7 run id of the server that the caller is connected to  8 lease ms
--       9 latest window start  10 earliest window end (ms)
--       11 '1' when the caller repeats an open whose answer it lost  12 payload  13 rows, as the record keeps them
--       14 ample factor  15 meters, a letter each  16 shape: three characters for each row: the place of its
--       hash ('0' the first), its meter, its enforcement (h, s or w)  17 position of the first row's name
--       18... for each meter: full, assumed, least; for each hash: its end (ms; 0 never, -1 40 days from now);
--       for each row its limit's id; then each row's name, where it is not the same
-- Times are ms of Redis' own clock. Amounts are decimal strings outside, int64 in rows, and doubles <= 2^53-1
-- inside. They are only ever written by struct.pack or %.0f: tostring and .. lose digits beyond the 14th.
-- (Redis itself writes a number with %.17g, so times go as they are.) A call into Redis costs about 1 us and
-- an argument 0.1, so few of both.
local call, tonumber, KEYS, ARGV = redis.call, tonumber, KEYS, ARGV
local byte, pack, unpacked = string.byte, struct.pack, struct.unpack
local ROW, MINUTE_US, RETENTION_MS = '<i8i8i8', 60000000, 3456000000 -- 40 days
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if call('EXISTS', KEYS[1]) == 1 then
  local was = ARGV[11] == '1' and redis.pcall('HMGET', KEYS[1], 'owner', 'held', 'at', 'rows', 'meters')
  if was and not was.err and was[1] == ARGV[2] then
    return {'OK', was[2], was[3], '', '', was[4], was[5]}
  end
  return {'EXISTS'}
end

local meta = call('HMGET', KEYS[3], 'complete_since', 'run_id', ARGV[4])
if not meta[1] or meta[2] ~= ARGV[7] then return {'COLD'} end
local key = call('HMGET', KEYS[4], 'st', 'ver', 'exp')
if not key[1] then return {'COLD'} end
if key[1] ~= 'active' then return {'REVOKED'} end
if key[3] and key[3] ~= '' and tonumber(key[3]) <= now then return {'EXPIRED'} end
-- A caller may have read the newer document before its version arrived here; only an older one is stale.
if tonumber(key[2]) > tonumber(ARGV[3]) or tonumber(meta[3] or '0') > tonumber(ARGV[5]) then return {'STALE'} end
if ARGV[6] ~= '' and tonumber(call('HGET', KEYS[#KEYS], 'ver') or '0') > tonumber(ARGV[6]) then
  return {'STALE'}
end
if now < tonumber(ARGV[9]) or now >= tonumber(ARGV[10]) then return {'PERIOD', string.format('%.0f', now)} end

local meters, shape = ARGV[15], ARGV[16]
local rows, M = #shape / 3, #meters
local hashes = #KEYS - 5 - (ARGV[6] ~= '' and 1 or 0)
local ENDS = 17 + 3 * M
local IDS = ENDS + hashes
local NAMES = tonumber(ARGV[17]) - 1
local place = {}                        -- meter letter -> its place
for m = 1, M do place[byte(meters, m)] = m end

local values = rows > 0 and call('HMGET', KEYS[5], unpack(ARGV, IDS + 1, IDS + rows)) or {}
local read, fresh = {}, {}              -- what the rows hold; hashes that hold none of our rows yet
local first = 1
while first <= rows do
  local h = byte(shape, 3 * first - 2)
  local last = first
  while last < rows and byte(shape, 3 * last + 1) == h do last = last + 1 end
  local found = call('HMGET', KEYS[h - 42], unpack(ARGV, NAMES + first, NAMES + last))
  local some = false
  for i = first, last do
    read[i] = found[i - first + 1]
    some = some or read[i]
  end
  if not some then fresh[#fresh + 1] = h end
  first = last + 1
end

local spent, reserved, doubted, used = {}, {}, {}, {}
local free, unheld, tightest, emptiest = {}, {}, {}, {} -- by meter, over hard rows: least free, least unheld
local late_ms, late = 0, nil            -- a hard rate that has to wait longest
local over = ''                         -- rows that would refuse if they were hard
for i = 1, rows do
  local letter, enforcement = byte(shape, 3 * i - 1, 3 * i)
  local value = tonumber(values[i] or nil)
  if not value then return {'COLD'} end
  if letter == 113 or letter == 107 then -- q and k: rates
    local m = place[letter]
    local us = time[1] * 1000000 + time[2]
    local arrival = math.max(tonumber(read[i] or '0'), us)
      + math.min(math.ceil(tonumber(ARGV[15 + 3 * m]) * MINUTE_US / value), MINUTE_US)
    local wait_ms = math.ceil((arrival - us - MINUTE_US) / 1000)
    if wait_ms <= 0 then
      used[i] = arrival
    elseif enforcement == 104 then
      if wait_ms > late_ms then late_ms, late = wait_ms, i end
    else                                -- it goes on, and counts as a hard rate would: what is refused does not
      used[i] = read[i]
      over = over .. i .. ' '
    end
  else
    local s, r, d = 0, 0, 0
    if read[i] then s, r, d = unpacked(ROW, read[i]) end
    spent[i], reserved[i], doubted[i] = s, r, d
    local m = place[letter]
    local rest = value - s - d
    if enforcement == 104 then          -- h: hard
      if not free[m] or rest - r < free[m] then free[m], tightest[m] = rest - r, i end
      if not unheld[m] or rest < unheld[m] then unheld[m], emptiest[m] = rest, i end
    elseif rest - r < tonumber(ARGV[17 + 3 * m]) then
      over = over .. i .. ' '
    end
  end
end

-- The hold of each meter. What keeps it out for good is told before what others hold, and that before a rate.
local held, amounts, busy = {}, {}, nil
for m = 1, M do
  local full, left = ARGV[15 + 3 * m], free[m]
  held[m], amounts[m] = full, tonumber(full)
  if left then
    local assumed, least = tonumber(ARGV[16 + 3 * m]), tonumber(ARGV[17 + 3 * m])
    local need = amounts[m]
    if least ~= need and left < tonumber(ARGV[14]) * need and not (assumed == need and left >= need) then
      -- Nobody named a maximum and the whole ceiling is not small change here: hold less, and say so.
      if left >= assumed then need = assumed
      elseif left >= least then need = left
      else need = least end
      held[m], amounts[m] = string.format('%.0f', need), need
    end
    if left < need then
      local i = unheld[m] < least and emptiest[m] or tightest[m]
      local refusal = {unheld[m] < least and 'EXHAUSTED' or 'BUSY', string.format('%.0f', i), values[i],
        string.format('%.0f', spent[i]),
        string.format('%.0f', tonumber(values[i]) - spent[i] - reserved[i] - doubted[i]), ''}
      if refusal[1] == 'EXHAUSTED' then return refusal end
      busy = busy or refusal
    end
  end
end
if busy then
  local oldest = call('ZRANGE', KEYS[2], '0', '0', 'WITHSCORES')
  if oldest[2] then busy[6] = string.format('%.0f', math.max(0, tonumber(oldest[2]) - now)) end
  return busy
end
if late then return {'RATE', string.format('%.0f', late), values[late], '0', '0', string.format('%.0f', late_ms)} end

first = 1
while first <= rows do
  local h = byte(shape, 3 * first - 2)
  local i, written = first, {}
  while i <= rows and byte(shape, 3 * i - 2) == h do
    written[#written + 1] = ARGV[NAMES + i]
    written[#written + 1] = used[i]
      or pack(ROW, spent[i], reserved[i] + amounts[place[byte(shape, 3 * i - 1)]], doubted[i])
    i = i + 1
  end
  call('HSET', KEYS[h - 42], unpack(written))
  local ends = ARGV[ENDS + h - 47]
  if ends == '-1' then call('PEXPIRE', KEYS[h - 42], RETENTION_MS) end
  first = i
end
for _, h in ipairs(fresh) do
  local ends = ARGV[ENDS + h - 47]
  if ends ~= '0' and ends ~= '-1' and call('PTTL', KEYS[h - 42]) == -1 then
    call('PEXPIREAT', KEYS[h - 42], tonumber(ends) + RETENTION_MS)
  end
end
held = table.concat(held, ' ')
call('HSET', KEYS[1], 'owner', ARGV[2], 'held', held, 'at', now, 'rows', ARGV[13], 'meters', meters,
  'payload', ARGV[12])
call('ZADD', KEYS[2], now + tonumber(ARGV[8]), ARGV[1])
local remaining = ''
local money = place[109]                -- m
if money and free[money] then remaining = string.format('%.0f', free[money] - amounts[money]) end
return {'OK', held, string.format('%.0f', now), remaining, over}
