module goproxy

go 1.20
