#!lua flags=allow-oom
-- Makes a shard whole: writes the counters of current windows and says since when they are known.
-- KEYS  1 meta  2 leases  3 outbox, then counters
-- ARGV  1 run id  2 the outbox's last id when the sums were made  3 prefix of open records  4 retention ms
--       then for each row of counters: spent, doubted, window end
-- Answers WHOLE (somebody was faster), AGAIN (a request ended meanwhile: sum anew) or SEEDED.
local call = redis.call
if call('HEXISTS', KEYS[1], 'complete_since') == 1 then return 'WHOLE' end
local last = '0-0'
if call('EXISTS', KEYS[3]) == 1 then
  local about = call('XINFO', 'STREAM', KEYS[3])
  for i = 1, #about, 2 do
    if about[i] == 'last-generated-id' then last = about[i + 1] end
  end
end
if last ~= ARGV[2] then return 'AGAIN' end

local reserved = {}
for i = 4, #KEYS do reserved[KEYS[i]] = 0 end
for _, id in ipairs(call('ZRANGE', KEYS[2], '0', '-1')) do
  local open = ARGV[3] .. id
  local record = redis.pcall('HMGET', open, 'rows', 'held')
  if not record.err and record[1] then
    for row in string.gmatch(record[1], '%S+') do
      if reserved[row] then reserved[row] = reserved[row] + tonumber(record[2]) end
    end
  end
end
for i = 4, #KEYS do
  local row, at = KEYS[i], 5 + 3 * (i - 4)
  call('HSET', row, 'spent', ARGV[at], 'doubted', ARGV[at + 1], 'reserved', string.format('%.0f', reserved[row]))
  local window_end = tonumber(ARGV[at + 2])
  if window_end < 9007199254740991 then
    call('PEXPIREAT', row, string.format('%.0f', window_end + tonumber(ARGV[4])))
  end
end
local time = call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
call('HSET', KEYS[1], 'complete_since', now, 'run_id', ARGV[1])
return 'SEEDED'
