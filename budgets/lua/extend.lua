#!lua flags=allow-oom
-- Holds more money for an open request, on every row or on none.
-- KEYS  1 open record, then for each limit: its definition, its counters
-- ARGV  1 owner  2 extra (nano-USD)
-- Answers OK, NO (a hard limit has not that much free) or LOST (closed, reaped, or another's).
local call = redis.call
local owner = redis.pcall('HGET', KEYS[1], 'owner')
if owner ~= ARGV[1] then return 'LOST' end
local extra = tonumber(ARGV[2])
local rows = (#KEYS - 1) / 2
for i = 1, rows do
  local definition = call('HMGET', KEYS[2 * i], 'value', 'enforcement')
  if definition[2] == 'hard' then
    local counters = call('HMGET', KEYS[2 * i + 1], 'spent', 'reserved', 'doubted')
    local free = tonumber(definition[1]) - tonumber(counters[1] or '0') - tonumber(counters[2] or '0')
      - tonumber(counters[3] or '0')
    if free < extra then return 'NO' end
  end
end
call('HINCRBY', KEYS[1], 'held', ARGV[2])
for i = 1, rows do
  call('HINCRBY', KEYS[2 * i + 1], 'reserved', ARGV[2])
end
return 'OK'
