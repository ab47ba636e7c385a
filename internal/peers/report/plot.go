package main

import (
	"bytes"
	"image/color"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// What a reader sees on white and on black alike.
var (
	ink     = color.RGBA{0x80, 0x80, 0x80, 0xff}
	faint   = color.NRGBA{0x80, 0x80, 0x80, 0x50}
	colours = map[string]color.RGBA{
		"leftfold+snapshots":  {0xd9, 0x48, 0x01, 0xff},
		"leftfold+latest":     {0xf0, 0x8c, 0x00, 0xff},
		"leftfold+cache":      {0xc2, 0x25, 0x5c, 0xff},
		"leftfold":            {0xe0, 0x31, 0x31, 0xff},
		"loop":                {0x80, 0x80, 0x80, 0xff},
		"chronicle":           {0x22, 0x8b, 0xe6, 0xff},
		"chronicle+snapshots": {0x74, 0xc0, 0xfc, 0xff},
		"eventhorizon":        {0x12, 0xa0, 0x8a, 0xff},
		"goes":                {0x9c, 0x6a, 0xde, 0xff},
		"hallgren":            {0x4c, 0xa0, 0x30, 0xff},
		"terraskye":           {0xc2, 0x5a, 0xa8, 0xff},
	}
)

// commandPlot is the time of a command against the length of its stream.
func commandPlot(r *results) (*plot.Plot, error) {
	p := plot.New()
	p.BackgroundColor = nil
	p.X.Label.Text, p.Y.Label.Text = "events in the stream", "time of a command"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	var x, y plot.ConstantTicks
	for i, n := range lengths {
		x = append(x, plot.Tick{Value: float64(n), Label: []string{"10", "100", "1 000", "10 000", "100 000"}[i]})
	}
	for i, label := range []string{"1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"} {
		y = append(y, plot.Tick{Value: math.Pow10(i - 6), Label: label})
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = x, y
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Color, axis.Label.TextStyle.Color, axis.Tick.Color, axis.Tick.Label.Color = ink, ink, ink, ink
		axis.Label.TextStyle.Font.Variant, axis.Tick.Label.Font.Variant = "Sans", "Sans"
	}
	p.Y.Min, p.Y.Max = 1e-6, 20 // the legend needs room
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, faint
	p.Add(grid)

	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.TextStyle.Color, p.Legend.TextStyle.Font.Variant = ink, "Sans"
	p.Legend.Padding = vg.Points(2)
	for _, name := range commanded() {
		var points plotter.XYs
		for _, n := range lengths {
			if t, ok := r.median(commandName(name, n), r.time); ok {
				points = append(points, plotter.XY{X: float64(n), Y: t})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, dots.Color = colours[name], colours[name]
		line.Width, dots.Shape, dots.Radius = vg.Points(1.2), draw.CircleGlyph{}, vg.Points(2)
		switch name {
		case "leftfold", "leftfold+snapshots", "leftfold+latest", "leftfold+cache":
			line.Width, dots.Radius = vg.Points(2.5), vg.Points(3.5)
		case "loop":
			line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
		}
		p.Add(line, dots)
		p.Legend.Add(name, line, dots)
	}
	return p, nil
}

// svg writes the plot to a file.
func svg(r *results, file string) error {
	p, err := commandPlot(r)
	if err != nil {
		return err
	}
	const width, height = 18 * vg.Centimeter, 12 * vg.Centimeter
	canvas := vgsvg.New(width, height)
	p.Draw(draw.Crop(draw.New(canvas), 0, -vg.Points(20), vg.Points(4), 0))
	var text bytes.Buffer
	if _, err := canvas.WriteTo(&text); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	// The font that it was measured with is found on few machines.
	return os.WriteFile(file, bytes.ReplaceAll(text.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif")), 0o644)
}
