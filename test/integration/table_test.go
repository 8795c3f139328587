package integration

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

const asTable = "application/json;as=Table;v=v1;g=meta.k8s.io"

func TestColumns(t *testing.T) {
	web := create(t, sample("web"))
	table := func() (columns, wide, row string) {
		t.Helper()
		got := get[metav1.Table](t, collection(web.Namespace), asTable)
		if len(got.Rows) != 1 {
			t.Fatalf("%d rows, want 1", len(got.Rows))
		}
		for _, column := range got.ColumnDefinitions {
			if column.Description == "" {
				t.Errorf("column %s has no description", column.Name)
			}
			if column.Priority == 0 {
				columns += strings.ToUpper(column.Name) + " "
			} else {
				wide += strings.ToUpper(column.Name) + " "
			}
		}
		for i, cell := range got.Rows[0].Cells {
			if got.ColumnDefinitions[i].Name != "Age" {
				row += fmt.Sprint(cell) + " "
			}
		}
		return columns, wide, row
	}

	columns, wide, row := table()
	if want := "NAME IMAGE TOTAL-QPS REAL-QPS READY STATUS AGE "; columns != want {
		t.Errorf("columns\n%s, want\n%s", columns, want)
	}
	if want := "PORT QPS-PER-POD CONTAINER-PORT REASON SELECTOR "; wide != want {
		t.Errorf("columns of -o wide\n%s, want\n%s", wide, want)
	}
	if want := "web nginx:1.17.1 2400 <unknown> <unknown> Unknown <unknown> 800 80 Pending elasticweb.example.com/name=web "; row != want {
		t.Errorf("a row before the first observation\n%s, want\n%s", row, want)
	}

	web.Status.RealQPS, web.Status.ReadyReplicas, web.Status.DesiredReplicas, web.Status.NodePort = ptr.To[int64](1600), 2, 3, 30003
	if _, err := server.web.ElasticWebs(web.Namespace).UpdateStatus(t.Context(), web, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, row = table(); row != "web nginx:1.17.1 2400 1600 2/3 Scaling 30003 800 80 Pending elasticweb.example.com/name=web " {
		t.Errorf("a row while scaling\n%s", row)
	}
}
