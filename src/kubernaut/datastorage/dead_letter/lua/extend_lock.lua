-- Set the state of a lock that we hold, and its expiry.
-- KEYS: lock. ARGV: token, state, milliseconds. Returns whether we hold it.
local value = redis.call('GET', KEYS[1])
if not value or string.sub(value, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2], 'PX', ARGV[3])
return 1
