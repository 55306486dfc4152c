# Roles and features of Windows Server; optional features of Windows clients.
$server = Test-Command -Name 'Install-WindowsFeature'

function Get-UnknownFeature([string[]]$Names) {
    $known = if ($server) { (Get-WindowsFeature).Name } else { (Get-WindowsOptionalFeature -Online).FeatureName }
    $Names | Where-Object { $known -notcontains $_ }
}

function Assert-Features([string[]]$Names) {
    $unknown = @(Get-UnknownFeature -Names $Names)
    if ($unknown.Count) { throw "this edition of Windows has no feature $($unknown -join ', ')" }
}

# Whether a change of features waits for a restart; each line that it prints goes to people
function Install-BuildFeatures([string[]]$Names, [bool]$SubFeatures, [bool]$ManagementTools) {
    Assert-Features -Names $Names
    if ($server) {
        $options = @{ IncludeAllSubFeature = $SubFeatures; IncludeManagementTools = $ManagementTools }
        $done = Install-WindowsFeature -Name $Names @options
        if (-not $done.Success) { throw "could not install $($Names -join ', '): $($done.ExitCode)" }
        return "$($done.RestartNeeded)" -ne 'No'
    }
    $done = @(foreach ($name in $Names) {
        Enable-WindowsOptionalFeature -Online -NoRestart -All:$SubFeatures -FeatureName $name
    })
    [bool]@($done | Where-Object { $_.RestartNeeded }).Count
}

function Remove-BuildFeatures([string[]]$Names) {
    Assert-Features -Names $Names
    if ($server) {
        $done = Uninstall-WindowsFeature -Name $Names
        if (-not $done.Success) { throw "could not remove $($Names -join ', '): $($done.ExitCode)" }
        return "$($done.RestartNeeded)" -ne 'No'
    }
    $done = @(foreach ($name in $Names) { Disable-WindowsOptionalFeature -Online -NoRestart -FeatureName $name })
    [bool]@($done | Where-Object { $_.RestartNeeded }).Count
}
