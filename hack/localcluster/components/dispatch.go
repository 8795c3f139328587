package components

import (
	"os"
	"path/filepath"
)

// Dispatch runs the component that the process was asked to be, by the name of its binary (a link named kubectl is kubectl)
// or by its first argument, and does not return then. It returns if the process is to be something else.
func Dispatch() {
	name := filepath.Base(os.Args[0])
	main, ok := mains[name]
	if !ok && len(os.Args) > 1 {
		name = os.Args[1]
		if main, ok = mains[name]; ok {
			os.Args = os.Args[1:]
		}
	}
	if ok {
		main()
	}
}
