package ociimage

import (
	"bytes"
	"debug/buildinfo"
	"path"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// SBOM lists the modules that a Go binary was made of, as the binary itself says, in CycloneDX's JSON.
func SBOM(binary string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &cdx.Component{
		BOMRef: info.Path, Type: cdx.ComponentTypeApplication, Name: path.Base(info.Path),
	}}
	components := []cdx.Component{{
		BOMRef: "pkg:golang/std@" + info.GoVersion, Type: cdx.ComponentTypeLibrary, Name: "std",
		Version: info.GoVersion, PackageURL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go"),
	}}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		reference := "pkg:golang/" + module.Path + "@" + module.Version
		components = append(components, cdx.Component{
			BOMRef: reference, Type: cdx.ComponentTypeLibrary, Name: module.Path, Version: module.Version, PackageURL: reference,
		})
	}
	bom.Components = &components
	var buffer bytes.Buffer
	err = cdx.NewBOMEncoder(&buffer, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
	return buffer.Bytes(), err
}
