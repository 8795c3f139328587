package main

import (
	"os"

	"elasticweb.example.com/hack/localcluster/components"
)

func main() {
	components.Mains[os.Args[1]]()
}
