package identity

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/uuid"
)

// Identity tells the contents of a storage from all others.
type Identity struct {
	// ID is random, made at the first install.
	ID string
	// Number rises while objects are created and deleted: what has a lower one is older. 0: there is no identity.
	Number int64
}

// none is how an identity that is not there is written.
const none = "none/0"

func newIdentity() Identity { return Identity{ID: string(uuid.NewUUID()), Number: 1} }

// String is the form in which an identity is stored, and accepted: id/number.
func (i Identity) String() string {
	if i.Number == 0 {
		return none
	}
	return i.ID + "/" + strconv.FormatInt(i.Number, 10)
}

// Parse is the opposite of String.
func Parse(text string) (Identity, error) {
	id, number, found := strings.Cut(text, "/")
	n, err := strconv.ParseInt(number, 10, 64)
	if !found || err != nil || id == "" || n < 0 || (n == 0 && text != none) {
		return Identity{}, fmt.Errorf("%q is no storage identity: it must be <id>/<number>, as in 5f0c.../17, or %s", text, none)
	}
	if n == 0 {
		return Identity{}, nil
	}
	return Identity{ID: id, Number: n}, nil
}

// disagreement says why a storage is not the one that the copy was made of; empty: it is. It may be ahead: the number rises in the
// storage first.
func disagreement(stored, copied Identity) string {
	switch {
	case stored.Number == 0:
		return "the storage has no identity: it is empty, was wiped, or is another one"
	case stored.ID != copied.ID:
		return "the storage is another one"
	case stored.Number < copied.Number:
		return "the storage is older: it was rolled back"
	default:
		return ""
	}
}
