#!lua
-- Makes the value of one window of a limit that accumulates: its allowance, and what was not used of former
-- windows up to a bound. Once: whoever comes later finds it.
-- KEYS  1 values of limits  2 accrued  3 meta  4 customer's row  5... hashes of former windows, the latest first
-- ARGV  1 run id of the server that the caller is connected to  2 name and 3 version of the account's document
--       4 version of the customer's own ('': not asked)  5 the value's name  6 the row's name
--       7 name of the allowance among the values  8 most that is carried over  9 start and 10 end of the window (ms)  11... ends of the former windows
-- Answers OK, COLD, STALE (see open.lua) or PERIOD: the window is not the present one.
local call, tonumber = redis.call, tonumber
local meta = call('HMGET', KEYS[3], 'complete_since', 'run_id', ARGV[2])
if not meta[1] or meta[2] ~= ARGV[1] then return 'COLD' end
local function stale(copy, version)
  return version and version ~= copy and tonumber(version) > tonumber(copy)
end
if stale(ARGV[3], meta[3]) or ARGV[4] ~= '' and stale(ARGV[4], call('HGET', KEYS[4], 'ver')) then
  return 'STALE'
end
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now < tonumber(ARGV[9]) or now >= tonumber(ARGV[10]) then return 'PERIOD' end
if call('HEXISTS', KEYS[1], ARGV[5]) == 1 then return 'OK' end

local allowance, most, carry = tonumber(call('HGET', KEYS[1], ARGV[7]) or nil), tonumber(ARGV[8]), 0
if not allowance then return 'COLD' end
local last = call('HGET', KEYS[2], ARGV[6])
if last then
  -- Of the last window in which anything was asked: its end, its value, what had been carried into it.
  local ended, value, carried = string.match(last, '(%d+) (%d+) (%d+)')
  if ended == ARGV[10] then
    carry = tonumber(carried)           -- the plan was changed within the window
  elseif tonumber(ended) < tonumber(ARGV[10]) then
    local idle = #ARGV - 10             -- windows since then in which nothing was asked
    for i = 11, #ARGV do
      if ARGV[i] == ended then
        idle = i - 11
        local row, used = call('HGET', KEYS[i - 6], ARGV[6]), 0
        if row then
          local s, r, d = struct.unpack('<i8i8i8', row)
          used = s + r + d              -- what is held may still be used
        elseif call('EXISTS', KEYS[i - 6]) == 0 then
          used = value                  -- its counters have expired: nobody knows any more
        end
        carry = math.max(0, value - used)
        break
      end
    end
    carry = carry + idle * allowance
  end
end
carry = math.min(most, carry)
local value = string.format('%.0f', allowance + carry)
call('HSET', KEYS[1], ARGV[5], value)
call('HSET', KEYS[2], ARGV[6], string.format('%s %s %.0f', ARGV[10], value, carry))
return 'OK'
