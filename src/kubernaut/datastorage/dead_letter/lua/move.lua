-- Move an entry to the end of a stream, unless somebody else has moved or deleted it.
-- KEYS: the stream it is in, the stream to move it to, bytes.
-- ARGV: id, by how many bytes the message grows, then fields and values of the new entry.
-- Returns whether it was moved.
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
redis.call('INCRBY', KEYS[3], ARGV[2])
return 1
