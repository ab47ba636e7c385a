// Package es is the core of leftfold.
package es
