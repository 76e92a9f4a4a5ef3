-- Asks for one path and judges each answer: 200 with 100 bytes. Arguments: the request target, the Host header.
local wrong, threads = 0, {}

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    local request = wrk.format("GET", args[1], { ["Host"] = args[2] })
    wrk.request = nil
    _G.request = function() return request end
    _G.wrong = 0
end

function response(status, headers, body)
    if status ~= 200 or #body ~= 100 then
        _G.wrong = _G.wrong + 1
    end
end

function done(summary, latency, requests)
    for _, thread in ipairs(threads) do
        wrong = wrong + thread:get("wrong")
    end
    print("wrong answers: " .. wrong)
end
