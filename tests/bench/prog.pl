# SPDX-License-Identifier: Apache-2.0
# The bench's Perl program: words counted, lines rewritten, numbers sorted, a small life game.
# usage: prog.pl ROUNDS
use strict;
use warnings;

my $rounds = shift;
my (%count, $sum);
open(my $in, '<', '/bench/text1') or die "text1: $!";
read($in, my $text, 60000 * $rounds);
for my $line (split /\n/, $text) {
	$count{lc $_}++ for $line =~ /\w+/g;
	$line =~ s/(\w+) (\w+)/$2-$1/g;
	$sum += length($line) * ord(substr($line, -1) || 'x') % 1009;
}
my @top = (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 19];
print "@top $sum\n";

my ($state, @numbers) = (1);
for (1 .. 12000 * $rounds) {
	$state = ($state * 1103515245 + 12345) % 2147483648;
	push @numbers, $state;
}
@numbers = sort { $a <=> $b } @numbers;
print join(' ', map { $numbers[$_ * 997] } 0 .. 11), "\n";

my ($w, $h) = (40, 30);
my @grid = map { $numbers[$_ * 7 % @numbers] % 3 == 0 ? 1 : 0 } 0 .. $w * $h - 1;
for (1 .. 5 * $rounds) {
	my @next;
	for my $y (0 .. $h - 1) {
		for my $x (0 .. $w - 1) {
			my $n = -$grid[$y * $w + $x];
			for my $dy (-1 .. 1) {
				$n += $grid[($y + $dy) % $h * $w + ($x + $_) % $w] for -1 .. 1;
			}
			$next[$y * $w + $x] = $n == 3 || ($n == 2 && $grid[$y * $w + $x]) ? 1 : 0;
		}
	}
	@grid = @next;
}
print join('', @grid), "\n";
