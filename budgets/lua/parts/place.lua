-- The id of the last entry that a stream was given, whether it still has it or not.
local function place(stream)
  if redis.call('EXISTS', stream) == 1 then
    local about = redis.call('XINFO', 'STREAM', stream)
    for i = 1, #about, 2 do
      if about[i] == 'last-generated-id' then return about[i + 1] end
    end
  end
  return '0-0'
end
