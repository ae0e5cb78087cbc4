-- Delete entries of a stream that are stored or dropped.
-- KEYS: the stream, the other stream, bytes. ARGV: id and message size of each entry, in turn.
-- Returns the number of entries that were deleted.
local removed, freed = 0, 0
for index = 1, #ARGV, 2 do
  if redis.call('XDEL', KEYS[1], ARGV[index]) == 1 then
    removed = removed + 1
    freed = freed + tonumber(ARGV[index + 1])
  end
end
if redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[3])
elseif freed > 0 then
  redis.call('DECRBY', KEYS[3], freed)
end
return removed
