-- Append messages to the queue, all or none, within its capacity.
-- KEYS: queue, dead letters, bytes. ARGV: max events, max bytes, messages.
-- Returns whether they were appended, the events and the bytes held afterwards.
local added = 0
for index = 3, #ARGV do added = added + #ARGV[index] end
local events = redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2])
local bytes = tonumber(redis.call('GET', KEYS[3]) or '0')
if events + #ARGV - 2 > tonumber(ARGV[1]) or bytes + added > tonumber(ARGV[2]) then return {0, events, bytes} end
for index = 3, #ARGV do redis.call('XADD', KEYS[1], '*', 'message', ARGV[index]) end
redis.call('INCRBY', KEYS[3], added)
return {1, events + #ARGV - 2, bytes + added}
