#!lua flags=allow-oom
-- Ends a request, once: frees its hold, settles its cost, appends its event, leaves a marker.
-- KEYS  1 open record  2 leases  3 outbox  4 meta, then the counters that were held on, as opened
-- ARGV  1 request id  2 spent  3 doubted (nano-USD)  4 status  5 marker ms  6 event
--       7 fence: the heartbeat count the reaper saw, '' from the worker  8 opened at (ms, Redis time)
-- Answers ok; closed (it had ended before, nothing changes); missing (the record was lost with the server's
-- memory); ALIVE (only to a fence: the holder has shown itself since).
local call = redis.call
local KEYS, ARGV = KEYS, ARGV
local record = redis.pcall('HMGET', KEYS[1], 'held', 'hb')
if record.err then return 'closed' end -- the marker is a string, so a hash command does not fit it

local answer = 'ok'
if record[1] then
  if ARGV[7] ~= '' and ARGV[7] ~= (record[2] or '0') then return 'ALIVE' end
  local spent, doubted, freed = ARGV[2], ARGV[3], '-' .. record[1]
  for i = 5, #KEYS do
    if freed ~= '-0' then call('HINCRBY', KEYS[i], 'reserved', freed) end
    if spent ~= '0' then call('HINCRBY', KEYS[i], 'spent', spent) end
    if doubted ~= '0' then call('HINCRBY', KEYS[i], 'doubted', doubted) end
  end
  call('ZREM', KEYS[2], ARGV[1])
else
  if ARGV[7] ~= '' then return 'missing' end
  answer = 'missing'
  -- The event is appended in any case (its id makes a second one harmless). The money is added where the
  -- counters cannot hold it yet: the ledger was made whole after the opening, or so little time has passed
  -- that an ended request's marker would still be here. A ledger not whole yet will count the outbox.
  local since = tonumber(call('HGET', KEYS[4], 'complete_since') or nil)
  local time = call('TIME')
  local age = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[8])
  if since and (since > tonumber(ARGV[8]) or age < tonumber(ARGV[5])) then
    for i = 5, #KEYS do
      if call('EXISTS', KEYS[i]) == 1 then
        call('HINCRBY', KEYS[i], 'spent', ARGV[2])
        call('HINCRBY', KEYS[i], 'doubted', ARGV[3])
      end
    end
  end
end
call('XADD', KEYS[3], '*', 'e', ARGV[6])
call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
return answer
