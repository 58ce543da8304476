// The smallest reverse proxy that Go's standard library offers: what a gateway written in Go would start from.
//
//	goproxy 127.0.0.1:PORT http://127.0.0.1:UPSTREAM
//
// It forwards every request as it is and flushes each piece of an answer as it comes, and does nothing else.
package main

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: goproxy LISTEN UPSTREAM")
		os.Exit(2)
	}
	upstream, err := url.Parse(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "goproxy:", err)
		os.Exit(2)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) { request.SetURL(upstream) },
		Transport: &http.Transport{
			MaxIdleConns:        4096,
			MaxIdleConnsPerHost: 4096, // the default of two would open a connection for almost every request
			IdleConnTimeout:     time.Hour,
			DisableCompression:  true,
		},
		FlushInterval: -1, // at once: streams must not wait
	}
	server := &http.Server{Addr: os.Args[1], Handler: proxy}
	fmt.Fprintln(os.Stderr, "goproxy:", server.ListenAndServe())
	os.Exit(1)
}
