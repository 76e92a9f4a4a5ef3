-- HAProxy's counterpart of the header filter: Lua that sets one request header.
core.register_action("header", { "http-req" }, function(txn)
    txn.http:req_set_header("x-filter", "bench")
end)
