package main

import (
	"context"
	"errors"
)

func runCurrent(context.Context, options) error {
	return errors.New("not yet")
}
